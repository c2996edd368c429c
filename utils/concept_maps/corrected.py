"""The corrected maps, one for each flow chart of the article. Places are (points from the left edge, row)."""

from __future__ import annotations

from dataclasses import dataclass

from .rules import Edge


@dataclass(frozen=True)
class ConceptMap:
    """A map as data.

    Attributes:
        section: the article's section, e.g. "2.2.3".
        title: Chinese title.
        places: concept -> (centre of its box in points from the left edge, row counted from the top).
        edges: what the map says.
        required: those edges without which it would be wrong; the article's chart of the section lacks them.
    """

    section: str
    title: str
    places: dict[str, tuple[float, float]]
    edges: tuple[Edge, ...]
    required: tuple[Edge, ...] = ()


def _edges(text: str) -> tuple[Edge, ...]:
    """Edges from lines such as "lora is-a peft"; one beginning with "!" is required."""
    return tuple(Edge(*line.lstrip("! ").split()) for line in text.strip().splitlines())


def _map(section: str, title: str, places: dict[str, tuple[float, float]], text: str) -> ConceptMap:
    required = "\n".join(line for line in text.splitlines() if line.strip().startswith("!"))
    return ConceptMap(section, title, places, _edges(text), _edges(required) if required else ())


MAPS = (
    _map("2.1", "核心概念", {
        "nlp": (57, 0), "deep-learning": (180, 0), "neural-network": (288, 0),
        "self-supervised": (52, 1), "pre-training": (200, 1),
        "fine-tuning": (80, 2), "prompt-learning": (230, 2),
        "full-fine-tuning": (43, 3), "peft": (172, 3), "in-context": (286, 3),
        "few-shot": (88, 4.15), "zero-shot": (222, 4.15),
    }, """
        nlp uses deep-learning
        deep-learning uses neural-network
        pre-training is-a self-supervised
        pre-training uses neural-network
        pre-training precedes fine-tuning
        pre-training precedes prompt-learning
        full-fine-tuning is-a fine-tuning
        peft is-a fine-tuning
        full-fine-tuning alternative-to peft
        few-shot uses fine-tuning
        ! few-shot uses in-context
        few-shot alternative-to zero-shot
        ! zero-shot uses prompt-learning
        in-context is-a prompt-learning
    """),
    _map("2.2.1", "深度学习与自然语言处理", {
        "nlp": (160, 0), "classic-methods": (62, 1), "deep-learning": (254, 1), "machine-learning": (62, 2),
        "deep-network": (254, 2), "neural-network": (62, 3), "pre-training": (254, 3), "downstream": (62, 4),
        "fine-tuning": (254, 4),
    }, """
        nlp uses classic-methods
        nlp uses deep-learning
        classic-methods alternative-to deep-learning
        deep-learning is-a machine-learning
        deep-learning uses deep-network
        deep-network is-a neural-network
        pre-training uses deep-network
        pre-training precedes fine-tuning
        downstream uses fine-tuning
    """),
    _map("2.2.2", "预训练与微调", {
        "unlabelled": (82, 0), "random-parameters": (238, 0), "pre-training": (160, 1), "theta-start": (160, 2),
        "labelled": (52, 2), "task-head": (268, 2), "fine-tuning": (160, 3), "loss": (272, 3.5),
        "theta-tuned": (160, 4), "downstream": (52, 4),
    }, """
        ! pre-training uses unlabelled
        ! random-parameters precedes pre-training
        ! pre-training precedes theta-start
        ! theta-start precedes fine-tuning
        ! fine-tuning uses labelled
        task-head precedes fine-tuning
        fine-tuning uses loss
        fine-tuning precedes theta-tuned
        downstream uses theta-tuned
    """),
    _map("2.2.3", "参数高效微调的方法", {
        "full-fine-tuning": (70, 0), "peft": (222, 0), "selective": (62, 1), "additive": (222, 1),
        "bitfit": (38, 2), "adapter": (120, 2), "lora": (197, 2), "prompt-tuning": (278, 2),
        "biases": (46, 3), "new-parameters": (197, 3),
    }, """
        full-fine-tuning alternative-to peft
        selective is-a peft
        additive is-a peft
        selective alternative-to additive
        bitfit is-a selective
        adapter is-a additive
        lora is-a additive
        prompt-tuning is-a additive
        ! bitfit uses biases
        ! adapter uses new-parameters
        ! lora uses new-parameters
        ! prompt-tuning uses new-parameters
    """),
    _map("2.2.4", "持续学习", {
        "task-incremental": (45, 0), "domain-incremental": (160, 0), "class-incremental": (275, 0), "incremental": (160, 1),
        "theta-tuned": (40, 2), "continual": (160, 2), "backward-transfer": (272, 2), "mitigation": (160, 3),
        "regularisation": (45, 4), "replay": (160, 4), "growing": (275, 4), "distillation": (45, 5),
    }, """
        ! task-incremental is-a incremental
        ! domain-incremental is-a incremental
        ! class-incremental is-a incremental
        incremental part-of continual
        ! continual uses theta-tuned
        ! continual uses backward-transfer
        continual uses mitigation
        regularisation is-a mitigation
        replay is-a mitigation
        growing is-a mitigation
        distillation is-a regularisation
    """),
    _map("2.3", "从预训练到持续学习", {
        "unlabelled": (62, 0), "pre-training": (222, 0), "transfer": (52, 1), "theta-start": (222, 1),
        "fine-tuning": (52, 2.2), "prompt-learning": (232, 2.2), "theta-tuned": (52, 3.4), "few-shot": (158, 3.4),
        "zero-shot": (275, 3.4), "continual": (52, 4.4), "task-stream": (222, 4.4),
    }, """
        pre-training uses unlabelled
        ! pre-training precedes theta-start
        ! theta-start precedes fine-tuning
        ! theta-start precedes prompt-learning
        fine-tuning is-a transfer
        ! fine-tuning precedes theta-tuned
        few-shot uses fine-tuning
        few-shot uses prompt-learning
        zero-shot uses prompt-learning
        ! continual uses theta-tuned
        ! continual uses task-stream
    """),
    _map("3.2", "微调的五个步骤", {
        "prepare": (92, 0), "add-head": (92, 1), "set-up": (92, 2), "train": (92, 3), "test": (92, 4), "new-data": (92, 5),
        "next-round": (92, 6), "labelled": (262, 0), "loss": (262, 1), "validation-set": (262, 2), "training-set": (262, 3),
        "test-set": (262, 4), "baselines": (262, 5),
    }, """
        prepare precedes add-head
        add-head precedes set-up
        set-up precedes train
        train precedes test
        test precedes new-data
        new-data precedes next-round
        prepare uses labelled
        add-head uses loss
        set-up uses validation-set
        train uses training-set
        train uses validation-set
        test uses test-set
        ! test uses baselines
    """),
)
