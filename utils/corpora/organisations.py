"""The silver rule for organisations: where the lost brackets of the People's Daily corpus probably stood.

The original corpus wrote 中国国际广播电台 in brackets with the tag nt; this copy has only its words. The rule, over the
words of a paragraph from left to right:

1. A *run* is a stretch of words tagged ns, nz, nt, j, n or vn that opens with a place (ns), a proper noun (nz), an
   organisation (nt) or an abbreviation (j), generic abbreviations (`GENERIC`) not counted; or with 全国 or 中央.
2. A *head* is a word tagged n, j, nz or l that ends in one of `HEADS` and in none of `NOT_HEADS`.
3. From the opening word to the last head of the run is one organisation. A place directly after a head ends the run,
   so that lists without commas fall apart, unless the next head is a branch (`BRANCHES`: 新华社 / 香港 / 分社).
4. A lone proper noun may be its own head, a lone abbreviation may not (常委会, 村委会 are no names).
5. Of the words left, each tagged nt is an organisation, and each tagged ns is a place.

These are silver labels: made by rule, not by hand. What opens with any other plain noun (八一电影制片厂) is missed.
"""

from __future__ import annotations

from functools import lru_cache

Word = tuple[str, str]  # the word and its part-of-speech tag
Span = tuple[int, int, str]  # first word, one past the last word, entity type

OPENING = frozenset({"ns", "nz", "nt", "j"})
OPENING_WORDS = frozenset({"全国", "中央"})  # plain nouns that open 全国政协, 中央电视台
INSIDE = OPENING | {"n", "vn"}
HEAD_TAGS = frozenset({"n", "j", "nz", "l"})
HEADS = tuple(
    # companies and banks
    "公司 集团 银行 分行 支行 总行 农行 农发行 厂 株式会社 商社 书店 信用社 供销社 合作社 交易所 事务所 "
    # state and party
    "政府 当局 人大 政协 省委 市委 县委 区委 地委 特委 州委 工委 党委 团委 纪委 科委 教委 体委 计委 建委 经委 农委 民委 经贸委 "
    "证券委 计生委 旅游委 文明委 科工委 政法委 党组 党支部 党 政治局 局 厅 署 部 司 处 办公室 研究室 总统府 总理府 使馆 领事馆 "
    "法院 检察院 法庭 派出所 国会 议会 众议院 参议院 新闻办 侨办 外办 台办 "
    # science, schools, health, art
    "大学 学院 学校 中学 小学 一中 党校 军校 幼儿园 科学院 社科院 中科院 农科院 工程院 研究院 研究所 实验室 中心 医院 福利院 敬老院 "
    "博物馆 图书馆 美术馆 档案馆 纪念馆 剧院 画院 棋院 美院 剧团 歌舞团 杂技团 艺术团 乐团 合唱团 芭蕾舞团 文工团 "
    # press
    "出版社 报社 通讯社 分社 杂志社 旅行社 电视台 电台 气象台 天文台 "
    # associations and bodies
    "委员会 常委会 立法会 安理会 特委会 协会 学会 总会 分会 商会 工会 研究会 联合会 联谊会 促进会 基金会 理事会 董事会 组委会 奥委会 "
    "证监会 居委会 村委会 红十字会 爱国会 医学会 文联 科协 妇联 工商联 作协 足协 剧协 记协 组织 联盟 小组 俱乐部 "
    "代表团 慰问团 主教团 "
    # forces and teams
    "解放军 空军 海军 陆军 人民军 八路军 新四军 军区 兵团 队".split()
)
NOT_HEADS = tuple(
    # people, parts, rooms, states of affairs
    "干部 内部 外部 西部 总部 头部 腹部 局部 军部 餐厅 客厅 大厅 舞厅 音乐厅 歌厅 展厅 门厅 政局 格局 大局 全局 结局 布局 僵局 残局 "
    "好处 坏处 益处 住处 长处 上司 中小学 "
    # kinds of groups rather than names
    "部队 军队 乐队 车队 球队 船队 梯队 舰队 护卫队 黑手党 反对党 执政党 在野党 政党".split()
)
BRANCHES = ("分", "支", "办事处", "代表处")  # a head that opens so belongs to the organisation before it
GENERIC = frozenset(
    "房地产 经贸 家电 高校 交警 双拥 环保 党政 通胀 维和 计生 征管 财税 纪检 粮油 政法 城建 商贸 统战 科教 党建 部委 大专院校 "
    "中小学 中小企业 中外 人均 国企 农资 技改 文教 外经贸 环卫 工商 厂矿 省直 区直 军地 党群 干群 企事业".split()
)


@lru_cache(maxsize=None)
def is_head(word: str, tag: str) -> bool:
    """Whether the word can end the name of an organisation (step 2). 党 by itself is a common noun."""
    return word != "党" and tag in HEAD_TAGS and word.endswith(HEADS) and not word.endswith(NOT_HEADS)


def _end_of_name(words: list[Word], start: int) -> int:
    """One past the last head of the run that opens at `start`; `start` itself if the run has no head."""
    end = start
    place = start
    while place < len(words) and words[place][1] in INSIDE:
        if words[place][1] == "ns" and end == place > start and not _opens_branch(words, place):
            break
        if is_head(*words[place]) and not (place == start and words[place][1] == "j"):
            end = place + 1
        place += 1
    return end


def _opens_branch(words: list[Word], place: int) -> bool:
    """Whether the first head from `place` on, within the run, is a branch of what stands before."""
    while place < len(words) and words[place][1] in INSIDE:
        if is_head(*words[place]):
            return words[place][0].startswith(BRANCHES)
        place += 1
    return False


def silver_spans(words: list[Word]) -> list[Span]:
    """Organisations by the rule and the places it leaves, in order: [(first word, one past the last, "ORG" or "LOC")]."""
    spans = []
    place = 0
    while place < len(words):
        word, tag = words[place]
        if tag not in OPENING and word not in OPENING_WORDS or word in GENERIC:
            place += 1
            continue
        end = _end_of_name(words, place)
        if end == place:
            end += 1
            if tag in ("nt", "ns"):
                spans.append((place, end, "ORG" if tag == "nt" else "LOC"))
        else:
            spans.append((place, end, "ORG"))
        place = end
    return spans
