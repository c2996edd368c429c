"""Scripted conversations with a home, written for the book: what is said, what it means, what the assistant should do.

A line is `words | meaning | action`. The meaning is the act or intent (with the kind of device that the words fix) and the
slots, as `corpora.home_intents` labels them; it stands for the words alone, without what was said before. The action is
what the assistant should do now; `=` says: the meaning itself. Kinds of action: 做 (do), 改 (undo the last, then do),
问 (ask for a slot), 确认 (ask whether to do it), 取消 (drop it), 不懂 (did not understand).
"""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import ConfigError, DataError

ACTIONS = ("做", "改", "问", "确认", "取消", "不懂")

DEVELOPMENT = """
# 省略房间
打开客厅的灯 | HassTurnOn/light area=客厅 | =
还有卧室 | inform area=卧室 | 做 HassTurnOn/light area=卧室
书房的也要 | inform area=书房 | 做 HassTurnOn/light area=书房
# 缺房间就问
把空调调到26度 | HassClimateSetTemperature temperature=26 | 问 area
卧室 | inform area=卧室 | 做 HassClimateSetTemperature area=卧室 temperature=26
# 更正
关闭厨房的灯 | HassTurnOff/light area=厨房 | =
不对，是书房 | correct area=书房 | 改 HassTurnOff/light area=书房
# 开锁要确认
打开大门锁 | HassTurnOff name=大门锁 | 确认 HassTurnOff name=大门锁
是的 | confirm | 做 HassTurnOff name=大门锁
# 拒绝
解锁大门锁 | HassTurnOff name=大门锁 | 确认 HassTurnOff name=大门锁
算了 | HassNevermind | 取消
# 改数值
把卧室的灯亮度调到30 | HassLightSet/light area=卧室 brightness=30 | =
改成50 | correct value=50 | 改 HassLightSet/light area=卧室 brightness=50
# 名字
打开落地灯 | HassTurnOn name=落地灯 | =
小夜灯呢 | inform name=小夜灯 | 做 HassTurnOn name=小夜灯
# 听不懂
今天的股票涨了吗 | unknown | 不懂
打开排风扇 | HassTurnOn name=排风扇 | =
"""

TEST = """
# 回家
打开客厅的灯 | HassTurnOn/light area=客厅 | =
再把客厅的窗帘打开 | HassTurnOn/cover area=客厅 device_class=窗帘 | =
空调调成24度 | HassClimateSetTemperature temperature=24 | 问 area
客厅的 | inform area=客厅 | 做 HassClimateSetTemperature area=客厅 temperature=24
还是26度吧 | correct temperature=26 | 改 HassClimateSetTemperature area=客厅 temperature=26
# 睡前
关闭客厅所有的灯 | HassTurnOff/light area=客厅 | =
厨房呢 | inform area=厨房 | 做 HassTurnOff/light area=厨房
打开小夜灯 | HassTurnOn name=小夜灯 | =
卧室的窗帘关上 | HassTurnOff/cover area=卧室 device_class=窗帘 | =
# 说错了房间
打开书房的灯 | HassTurnOn/light area=书房 | =
不是书房，是阳台 | correct area=阳台 | 改 HassTurnOn/light area=阳台
# 说错了两次
把客厅空调调到22度 | HassClimateSetTemperature area=客厅 temperature=22 | =
错了，卧室 | correct area=卧室 | 改 HassClimateSetTemperature area=卧室 temperature=22
不是22度，是25度 | correct temperature=25 | 改 HassClimateSetTemperature area=卧室 temperature=25
# 开门
打开大门锁 | HassTurnOff name=大门锁 | 确认 HassTurnOff name=大门锁
对，打开吧 | confirm | 做 HassTurnOff name=大门锁
锁上大门锁 | HassTurnOn name=大门锁 | =
# 不开门
把大门锁解锁 | HassTurnOff name=大门锁 | 确认 HassTurnOff name=大门锁
还是别开了 | HassNevermind | 取消
# 确认时又改主意
解锁大门锁 | HassTurnOff name=大门锁 | 确认 HassTurnOff name=大门锁
打开阳台的灯 | HassTurnOn/light area=阳台 | =
好的 | confirm | 不懂
# 问房间时取消
打开窗帘 | HassTurnOn/cover device_class=窗帘 | 问 area
不用了 | HassNevermind | 取消
卧室 | inform area=卧室 | 不懂
# 问房间时换命令
关灯 | HassTurnOff/light | 问 area
把电视音量设置为20 | HassSetVolume name=电视 volume_level=20 | =
# 亮度与颜色
把书房的灯亮度调到80 | HassLightSet/light area=书房 brightness=80 | =
卧室也一样 | inform area=卧室 | 做 HassLightSet/light area=卧室 brightness=80
改成40 | correct value=40 | 改 HassLightSet/light area=卧室 brightness=40
把客厅的灯调成蓝色 | HassLightSet/light area=客厅 color=蓝色 | =
换成黄色 | correct color=黄色 | 改 HassLightSet/light area=客厅 color=黄色
# 窗帘开一半
把卧室的窗帘调到50% | HassSetPosition/cover area=卧室 device_class=窗帘 position=50 | =
书房的呢 | inform area=书房 | 做 HassSetPosition/cover area=书房 device_class=窗帘 position=50
百分之30 | inform value=30 | 做 HassSetPosition/cover area=书房 device_class=窗帘 position=30
# 风扇
打开客厅的风扇 | HassTurnOn/fan area=客厅 | =
还有厨房 | inform area=厨房 | 做 HassTurnOn/fan area=厨房
关掉排风扇 | HassTurnOff name=排风扇 | =
# 只有一处，不必问
打开热水器 | HassTurnOn name=热水器 | =
锁上大门锁 | HassTurnOn name=大门锁 | =
# 计时器
设置10分钟的计时器 | HassStartTimer minutes=10 | =
错了，15分钟 | correct minutes=15 | 改 HassStartTimer minutes=15
# 购物清单
把牛奶加到购物清单 | HassShoppingListAddItem item=牛奶 | =
记得买酱油 | HassShoppingListAddItem item=酱油 | =
# 听不懂以后接着来
给我讲个笑话 | unknown | 不懂
打开卧室的灯 | HassTurnOn/light area=卧室 | =
世界上最高的山是哪座 | unknown | 不懂
那书房呢 | inform area=书房 | 做 HassTurnOn/light area=书房
# 没头没尾
卧室呢 | inform area=卧室 | 不懂
可以 | confirm | 不懂
关闭卧室的灯 | HassTurnOff/light area=卧室 | =
# 换设备
打开落地灯 | HassTurnOn name=落地灯 | =
我说的是小夜灯 | correct name=小夜灯 | 改 HassTurnOn name=小夜灯
客厅的灯也要 | HassTurnOn/light area=客厅 | =
# 从名字到房间
关闭小夜灯 | HassTurnOff name=小夜灯 | =
打开书房的空调 | HassTurnOn/climate area=书房 | =
把书房空调设为27度 | HassClimateSetTemperature area=书房 temperature=27 | =
客厅呢 | inform area=客厅 | 做 HassClimateSetTemperature area=客厅 temperature=27
# 全屋
关闭全部的灯 | HassTurnOff/light | 确认 HassTurnOff/light area=全屋
确定 | confirm | 做 HassTurnOff/light area=全屋
# 口语
帮我把厨房的灯打开好吗 | HassTurnOn/light area=厨房 | =
太亮了，调到20 | HassLightSet/light brightness=20 | 做 HassLightSet/light area=厨房 brightness=20
麻烦把阳台灯也开一下 | HassTurnOn/light area=阳台 | =
# 电视
打开电视 | HassTurnOn name=电视 | =
电视音量调到30 | HassSetVolume name=电视 volume_level=30 | =
改成20 | correct value=20 | 改 HassSetVolume name=电视 volume_level=20
关闭电视 | HassTurnOff name=电视 | =
"""


@dataclass(frozen=True)
class Meaning:
    """What words mean: an act or intent, the kind of device that they fix ("" if none), and the slots."""

    act: str
    domain: str = ""
    slots: tuple[tuple[str, str], ...] = ()

    def slot(self, name: str) -> str | None:
        """The value of a slot, or None."""
        return dict(self.slots).get(name)


@dataclass(frozen=True)
class Turn:
    """What the user says, what it means, and the action that is due: its kind and what it is about."""

    text: str
    meaning: Meaning
    kind: str
    target: Meaning


def parse_meaning(text: str) -> Meaning:
    """"HassTurnOn/light area=客厅" as a `Meaning`; the order of the slots does not matter."""
    head, *slots = text.split()
    act, _, domain = head.partition("/")
    return Meaning(act, domain, tuple(sorted(tuple(slot.split("=", 1)) for slot in slots)))


def parse(text: str) -> dict[str, list[Turn]]:
    """Title -> turns.

    Raises:
        DataError: a line that is no turn, or an unknown kind of action; names the line.
    """
    found: dict[str, list[Turn]] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if line.startswith("# "):
            turns = found.setdefault(line[2:], [])
        elif line.strip():
            try:
                words, meaning, action = (part.strip() for part in line.split("|"))
                kind, _, target = action.partition(" ") if action != "=" else ("做", "", meaning)
                if kind not in ACTIONS:
                    raise ValueError(kind)
                turns.append(Turn(words, parse_meaning(meaning), kind, parse_meaning(target or "-")))
            except (ValueError, UnboundLocalError) as error:
                raise DataError(f"对话的第 {number} 行看不懂（{error}）：{line}") from None
    return found


def home_dialogues(split: str = "test") -> dict[str, list[Turn]]:
    """The conversations by title: "development" for building the assistant, "test" for judging it once.

    Raises:
        ConfigError: another split.
    """
    texts = {"development": DEVELOPMENT, "test": TEST}
    if split not in texts:
        raise ConfigError(f"split={split!r} 不认识；可选：{'、'.join(texts)}")
    return parse(texts[split])
