"""The arrows of the article's flow charts, each with the kindest meaning that its chart and text allow.

The article's charts have arrows without a type. Read as below, some say something true; the rules refuse the others.
The sixth mermaid chart is that of 2.3; the seventh is the numbered workflow of 3.2 with what its text adds.
"""

from __future__ import annotations

from dataclasses import dataclass

from .rules import Edge

# How an arrow is read: head and tail stand for what it points to and what it comes from.
READINGS = {"head is-a tail": 0, "head part-of tail": 0, "head uses tail": 0, "tail uses head": 1, "tail precedes head": 1}


@dataclass(frozen=True)
class Arrow:
    """An arrow from `tail` to `head` and what it is taken to mean."""

    tail: str
    head: str
    reading: str

    @property
    def edge(self) -> Edge:
        ends = (self.head, self.tail) if self.reading.startswith("head") else (self.tail, self.head)
        return Edge(ends[0], self.reading.split()[1], ends[1])


@dataclass(frozen=True)
class ArticleChart:
    """A chart of the article.

    Attributes:
        section: e.g. "2.2.3".
        places: concept -> (centre of its box in points, row).
        arrows: in the article's order.
        labels: concept -> the article's name for it, where it differs from ours.
        bends: (tail, head) -> how far the line swings out, in points to its left.
    """

    section: str
    places: dict[str, tuple[float, float]]
    arrows: tuple[Arrow, ...]
    labels: dict[str, str]
    bends: dict[tuple[str, str], float]


def _chart(section, places, text, labels=None, bends=None) -> ArticleChart:
    """A chart from lines such as "peft > lora: head is-a tail"."""
    arrows = []
    for line in text.strip().splitlines():
        ends, reading = line.split(":")
        tail, head = ends.split(">")
        arrows.append(Arrow(tail.strip(), head.strip(), reading.strip()))
    return ArticleChart(section, places, tuple(arrows), labels or {}, bends or {})


CHARTS = (
    _chart("2.1", {
        "neural-network": (140, 0), "deep-learning": (50, 1), "nlp": (219, 1),
        "self-supervised": (88, 2), "fine-tuning": (150, 2), "peft": (219, 2), "prompt-learning": (295, 2),
        "pre-training": (29, 3), "zero-shot": (120, 3), "few-shot": (205, 3), "full-fine-tuning": (289, 3),
    }, """
        neural-network > deep-learning: head uses tail
        neural-network > nlp: head part-of tail
        deep-learning > pre-training: head uses tail
        nlp > fine-tuning: tail uses head
        nlp > peft: tail uses head
        nlp > prompt-learning: tail uses head
        deep-learning > self-supervised: tail uses head
        fine-tuning > full-fine-tuning: head is-a tail
        fine-tuning > few-shot: head uses tail
        fine-tuning > zero-shot: head uses tail
        peft > full-fine-tuning: head is-a tail
        peft > few-shot: head uses tail
        prompt-learning > full-fine-tuning: head is-a tail
        prompt-learning > few-shot: head uses tail
        self-supervised > pre-training: head is-a tail
    """, bends={("fine-tuning", "full-fine-tuning"): -6}),
    _chart("2.2.1", {
        "deep-learning": (160, 0), "nlp": (72, 1), "neural-network": (248, 1), "pre-training": (72, 2), "fine-tuning": (160, 3),
    }, """
        deep-learning > nlp: head uses tail
        deep-learning > neural-network: head is-a tail
        nlp > pre-training: tail precedes head
        neural-network > fine-tuning: head uses tail
        pre-training > fine-tuning: tail precedes head
    """),
    _chart("2.2.2", {
        "pre-training": (160, 0), "neural-network": (80, 1), "fine-tuning": (240, 1), "deep-learning": (80, 2),
        "downstream": (240, 2), "task-head": (240, 3), "loss": (240, 4),
    }, """
        pre-training > neural-network: tail precedes head
        pre-training > fine-tuning: tail precedes head
        neural-network > deep-learning: tail precedes head
        fine-tuning > downstream: tail precedes head
        downstream > task-head: tail precedes head
        task-head > loss: head uses tail
    """),
    _chart("2.2.3", {
        "peft": (160, 0), "adapter": (38, 1), "prompt-tuning": (116, 1), "lora": (198, 1), "bitfit": (278, 1),
        "freeze-all": (160, 2), "update-few": (160, 3),
    }, """
        peft > adapter: head is-a tail
        peft > prompt-tuning: head is-a tail
        peft > lora: head is-a tail
        peft > bitfit: head is-a tail
        adapter > freeze-all: tail uses head
        prompt-tuning > freeze-all: tail uses head
        lora > freeze-all: tail uses head
        bitfit > freeze-all: tail uses head
        freeze-all > update-few: tail precedes head
    """),
    _chart("2.2.4", {
        "continual": (160, 0), "mitigation": (80, 1), "incremental": (240, 1), "regularisation": (38, 2),
        "replay": (118, 2), "growing": (200, 2), "distillation": (280, 2), "large-language-model": (160, 3),
    }, """
        continual > mitigation: tail uses head
        continual > incremental: head part-of tail
        mitigation > regularisation: head is-a tail
        mitigation > replay: head is-a tail
        incremental > growing: head is-a tail
        incremental > distillation: head is-a tail
        regularisation > large-language-model: tail precedes head
        replay > large-language-model: tail precedes head
        growing > large-language-model: tail precedes head
        distillation > large-language-model: tail precedes head
    """, labels={"mitigation": "避免灾难性遗忘", "incremental": "增量学习", "regularisation": "正则化方法",
                 "large-language-model": "大语言模型持续适应"}),
    _chart("2.3", {
        "unlabelled": (160, 0), "pre-training": (80, 1), "continual": (240, 1), "neural-network": (80, 2),
        "mitigation": (188, 2), "incremental": (284, 2), "peft": (45, 3), "transfer": (220, 3),
        "fine-tuning": (122, 4), "prompt-learning": (240, 4), "few-shot": (180, 5), "zero-shot": (285, 5),
    }, """
        unlabelled > pre-training: head uses tail
        pre-training > neural-network: tail precedes head
        neural-network > fine-tuning: head uses tail
        neural-network > peft: head uses tail
        neural-network > prompt-learning: head uses tail
        prompt-learning > few-shot: head uses tail
        prompt-learning > zero-shot: head uses tail
        neural-network > transfer: head uses tail
        transfer > fine-tuning: head is-a tail
        transfer > prompt-learning: head is-a tail
        unlabelled > continual: head uses tail
        continual > mitigation: tail uses head
        continual > incremental: head part-of tail
    """, labels={"unlabelled": "大规模文本数据", "mitigation": "避免灾难性遗忘", "incremental": "增量学习"}),
    _chart("3.2", {
        "prepare": (92, 0), "add-head": (92, 1), "set-up": (92, 2), "train": (92, 3), "test": (92, 4),
        "encoder": (258, 0), "decoder": (258, 1), "score-before": (258, 4),
    }, """
        prepare > add-head: tail precedes head
        add-head > set-up: tail precedes head
        set-up > train: tail precedes head
        train > test: tail precedes head
        prepare > encoder: tail uses head
        encoder > decoder: head part-of tail
        test > score-before: tail uses head
        test > train: tail precedes head
    """, labels={"decoder": "生成用的解码器"}, bends={("test", "train"): -46}),
)
