"""What a map may say: which kinds a relation joins, what must not go round in a circle, what a definition forbids."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from .nodes import CONCEPTS, KINDS

RELATIONS = {"is-a": "是一种", "part-of": "属于", "uses": "用到", "precedes": "先于", "alternative-to": "二选一"}
ORDERED = ("is-a", "part-of", "precedes")  # relations without circles
ANY = ("is-a", "part-of", "uses", "precedes")


class Edge(NamedTuple):
    """`source` stands in `relation` to `target`: ("lora", "is-a", "peft")."""

    source: str
    relation: str
    target: str

    def __str__(self) -> str:
        words = RELATIONS.get(self.relation, self.relation)
        if self.relation == "alternative-to":
            return f"“{name(self.source)}”与“{name(self.target)}”{words}"
        return f"“{name(self.source)}”{words}“{name(self.target)}”"


class Contradiction(NamedTuple):
    """Why a map is refused.

    Attributes:
        edge: the edge at fault; for the rule "missing" the one that is not there.
        rule: "relation", "kind", "circle", "alternatives", "definition", "start" or "missing".
        reason: one Chinese sentence.
    """

    edge: Edge
    rule: str
    reason: str

    def __str__(self) -> str:
        return f"{self.edge}：{self.reason}"


class Definition(NamedTuple):
    """`source`, or a kind of it, never stands in one of `relations` to `target`, or a kind of it."""

    source: str
    relations: tuple[str, ...]
    target: str
    reason: str


DEFINITIONS = (
    Definition("neural-network", ("is-a", "part-of"), "deep-learning",
               "子集反了：深度学习只是神经网络方法中层数多的那一部分，浅的网络不算"),
    Definition("nlp", ("is-a", "part-of"), "neural-network", "自然语言处理是一个领域，比神经网络在其中的应用更早，只是用到它"),
    Definition("zero-shot", ANY, "fine-tuning", "零样本就是不用该任务的样本训练，不可能由微调得到"),
    Definition("fine-tuning", ANY, "zero-shot", "零样本就是不用该任务的样本训练，不可能由微调得到"),
    Definition("zero-shot", ("uses",), "labelled", "零样本就是不用该任务的任何标注样本"),
    Definition("zero-shot", ("uses",), "training-set", "零样本就是不用该任务的任何标注样本"),
    Definition("in-context", ("is-a", "part-of", "uses"), "fine-tuning", "上下文学习把例子写进输入，参数一点不改，不是微调"),
    Definition("fine-tuning", ("is-a", "part-of"), "freeze-all", "微调里有全参数微调，它一个参数也不冻结"),
    Definition("full-fine-tuning", ("uses",), "freeze-all", "全参数微调更新全部参数；全部冻结、只训练新层的是另一种方法"),
    Definition("freeze-all", ("is-a", "part-of", "uses"), "full-fine-tuning", "预训练参数既已全部冻结，就不是全参数微调；这是两种方法"),
    Definition("bitfit", ANY, "freeze-all", "BitFit 训练的正是预训练得到的偏置，没有把预训练参数全部冻结"),
    Definition("freeze-all", ANY, "update-few", "参数既已全部冻结，就没有“少量”可更新；适配器、提示微调、LoRA 训练的是新增的参数"),
    Definition("full-fine-tuning", ("is-a", "part-of"), "prompt-learning",
               "提示学习改的是输入的写法，全参数微调说的是更新哪些参数；后者不是前者的一种"),
    Definition("prompt-learning", ("is-a", "part-of", "precedes"), "full-fine-tuning",
               "提示学习改的是输入的写法，全参数微调说的是更新哪些参数；前者不是后者的一种，也不通向后者"),
    Definition("prompt-tuning", ("is-a", "part-of"), "prompt-learning", "提示微调训练一串软向量，是参数高效微调；提示学习用文字模板"),
    Definition("prompt-learning", ("is-a", "part-of"), "prompt-tuning", "提示学习用文字模板，可以什么都不训练"),
    Definition("pre-training", ("is-a", "part-of"), "supervised", "预训练的答案来自文本自身，是自监督的"),
    Definition("pre-training", ("uses",), "labelled", "预训练不用标注"),
    Definition("fine-tuning", ("uses",), "unlabelled", "微调用的是任务的标注数据"),
    Definition("continual", ANY, "unlabelled", "持续学习接在训练好的模型和后来的任务上，不接在预训练语料上"),
    Definition("unlabelled", ANY, "continual", "持续学习接在训练好的模型和后来的任务上，不接在预训练语料上"),
    Definition("distillation", ("is-a", "part-of"), "incremental", "蒸馏是方法，增量是情境；LwF 正是把蒸馏当作正则项来减轻遗忘"),
    Definition("growing", ("is-a", "part-of"), "incremental", "动态架构是方法，增量是情境；它正是为避免遗忘而设的"),
    Definition("mitigation", ANY, "large-language-model", "适应新任务的是 BERT 大小的编码器，不是大语言模型"),
    Definition("encoder", ("is-a",), "large-language-model", "大语言模型指大得多、靠续写完成任务的因果模型"),
    Definition("large-language-model", ("is-a",), "encoder", "大语言模型指大得多、靠续写完成任务的因果模型"),
    Definition("decoder", ("part-of",), "encoder", "BERT 只有编码器，没有能逐词生成的解码器"),
    Definition("encoder", ("uses",), "decoder", "BERT 只有编码器，没有能逐词生成的解码器"),
    Definition("score-before", ("is-a", "part-of"), "baselines", "微调前任务适配层是随机的，那个精度没有意义，算不上基线"),
    Definition("test", ("uses",), "score-before", "微调前任务适配层是随机的，那个精度没有意义；该与基线比"),
)

WHOLE = {"field", "method", "step", "setting", "model", "part", "task"}
# relation -> may (kind of source, kind of target) be joined; and what to say if not.
JOINS = {
    "is-a": (lambda a, b: a == b, "“是一种”的两端要是同类的东西"),
    "part-of": (lambda a, b: b in WHOLE and (b != "field" or a in ("field", "task")) and (b != "setting" or a == "setting"),
                "整体要能有这样的部分"),
    "uses": (lambda a, b: a in WHOLE | {"measure"} and b != "field", "数据与参数自己不会用别的东西，领域也不是拿来用的"),
    "precedes": (lambda a, b: not {a, b} & {"field", "model", "setting", "measure"},
                 "先后只在步骤、方法、数据、参数之间；领域和模型的种类不是某一步的产物"),
    "alternative-to": (lambda a, b: a == b, "只有同类的东西才可以二选一"),
}


def name(node: str) -> str:
    """What a node is called in a sentence."""
    return CONCEPTS[node].label.replace("\n", "") if node in CONCEPTS else node


def contradictions(edges: Iterable[Edge], facts: Iterable[Edge] = (), required: Iterable[Edge] = ()) -> list[Contradiction]:
    """Everything that speaks against a map.

    Args:
        edges: the map.
        facts: edges known to be right; a circle or a forbidden relation may run through them.
        required: edges that the map must have.

    Returns:
        At most one contradiction for each edge, in the order of the edges, then what is missing; empty if all is well.
    """
    edges, facts = [Edge(*edge) for edge in edges], [Edge(*fact) for fact in facts]
    found = {edge: fault for edge in edges if edge not in facts and (fault := _fault(edge, [*facts, edge] if facts else edges))}
    sound = [*facts, *(edge for edge in edges if edge not in found)]  # an edge is not blamed for going along with a bad one
    for edge in edges:
        if edge not in facts and edge not in found and (way := _circle(edge, sound)):
            round_trip = " → ".join(map(name, way))
            found[edge] = Contradiction(edge, "circle", f"“{RELATIONS[edge.relation]}”绕成了圈（{round_trip}）")
    missing = [Contradiction(Edge(*edge), "missing", "图里缺了这一条") for edge in required if Edge(*edge) not in edges]
    return [*(found[edge] for edge in dict.fromkeys(edges) if edge in found), *missing]


def _fault(edge: Edge, known: list[Edge]) -> Contradiction | None:
    """What is wrong with one edge beside those known; circles apart."""
    source, relation, target = edge
    if relation not in RELATIONS or source not in CONCEPTS or target not in CONCEPTS:
        return Contradiction(edge, "relation", "没有这种关系或概念")
    above, below = _reachable(source, "is-a", known), _reachable(target, "is-a", known)
    for definition in DEFINITIONS:
        if definition.source in above and relation in definition.relations and definition.target in below:
            return Contradiction(edge, "definition", definition.reason)
    kinds = CONCEPTS[source].kind, CONCEPTS[target].kind
    allowed, advice = JOINS[relation]
    if not allowed(*kinds):
        said = "，".join(f"“{name(node)}”是{KINDS[kind]}" for node, kind in zip((source, target), kinds))
        return Contradiction(edge, "kind", f"{said}；{advice}")
    if pair := _alternatives(above, below, relation, known):
        return Contradiction(edge, "alternatives", "“{}”与“{}”二选一，不能又有这种关系".format(*map(name, pair)))
    if relation == "precedes" and kinds[0] == "parameters":
        starts = {e.source for e in known if e[1:] == edge[1:] and CONCEPTS[e.source].kind == "parameters"}
        if len(starts) > 1:
            return Contradiction(edge, "start", f"“{name(target)}”只能有一个出发点")
    return None


def _circle(edge: Edge, known: list[Edge]) -> list[str]:
    """The shortest way along the edge and back to where it begins; empty if there is none or it may go in circles."""
    ways, seen = ([[edge.source, edge.target]], {edge.target}) if edge.relation in ORDERED else ([], set())
    for way in ways:  # grows while it is walked: breadth first
        if way[-1] == edge.source:
            return way
        for other in known:
            if other.source == way[-1] and other.relation == edge.relation and other.target not in seen:
                seen.add(other.target)
                ways.append([*way, other.target])
    return []


def _reachable(node: str, relation: str, edges: list[Edge]) -> set[str]:
    """The node and all that lies above it along one relation."""
    found, queue = {node}, [node]
    while queue:
        here = queue.pop()
        more = {e.target for e in edges if e.source == here and e.relation == relation} - found
        found |= more
        queue += more
    return found


def _alternatives(above: set[str], below: set[str], relation: str, edges: list[Edge]) -> tuple[str, str] | None:
    """A pair of alternatives that a relation would join: one on either side, or both above one node."""
    if relation == "alternative-to":
        return None
    for first, kind, second in edges:
        if kind != "alternative-to":
            continue
        across = (first in above and second in below) or (second in above and first in below)
        if across or (relation == "is-a" and {first, second} <= above):
            return first, second
    return None


def facts_of(maps: Iterable[Iterable[Edge]]) -> Iterator[Edge]:
    """All edges of several maps, each once."""
    yield from dict.fromkeys(edge for edges in maps for edge in edges)
