"""The concepts that the maps of the book join: what each is called, what kind of thing it is, its glossary term."""

from __future__ import annotations

from dataclasses import dataclass

# What a concept is. A relation joins only some kinds (see `rules.py`).
KINDS = {"field": "领域", "method": "方法", "step": "步骤", "setting": "情境", "model": "模型", "part": "部件",
         "data": "数据", "parameters": "参数", "task": "任务", "measure": "度量"}


@dataclass(frozen=True)
class Concept:
    """A node of a map.

    Attributes:
        label: what is written into its box; "\\n" breaks the line.
        kind: one of `KINDS`.
        term: the glossary's term for it.
    """

    label: str
    kind: str
    term: str


def _concepts(kind: str, **labels: str) -> dict[str, Concept]:
    """Concepts of one kind; a label may name a glossary term other than itself after a bar."""
    found = {}
    for name, text in labels.items():
        label, _, term = text.partition("|")
        found[name.replace("_", "-")] = Concept(label, kind, term or label)
    return found


CONCEPTS: dict[str, Concept] = {
    **_concepts("field", nlp="自然语言处理"),
    **_concepts(
        "method",
        machine_learning="机器学习", deep_learning="深度学习", classic_methods="规则与统计方法|基线",
        supervised="有监督学习", self_supervised="自监督学习", transfer="迁移学习", pre_training="预训练",
        fine_tuning="微调", full_fine_tuning="全参数微调", peft="参数高效微调", prompt_learning="提示学习",
        in_context="上下文学习", additive="增添参数|参数高效微调", selective="选用原有参数|参数高效微调",
        adapter="适配器", prompt_tuning="提示微调", lora="LoRA", bitfit="BitFit", freeze_all="冻结预训练参数|冻结",
        update_few="仅更新少量参数|参数高效微调", continual="持续学习", mitigation="减轻遗忘的方法|灾难性遗忘",
        regularisation="正则化", replay="记忆重放", growing="动态架构", distillation="知识蒸馏",
    ),
    **_concepts(
        "step",
        prepare="① 准备模型与数据|微调", add_head="② 添加任务适配层|任务适配层", set_up="③ 设置超参数|超参数",
        train="④ 梯度训练|梯度下降", test="⑤ 测试与部署|测试集", next_round="下一轮五步|漂移",
    ),
    **_concepts(
        "setting",
        few_shot="少样本学习", zero_shot="零样本学习", incremental="增量学习的情境|持续学习",
        task_incremental="任务增量", domain_incremental="领域增量", class_incremental="类别增量",
    ),
    **_concepts(
        "model",
        neural_network="神经网络", deep_network="多层神经网络|神经网络", encoder="BERT 等编码器|编码器",
        large_language_model="大语言模型",
    ),
    **_concepts("part", task_head="任务适配层", loss="损失函数", decoder="解码器"),
    **_concepts(
        "data",
        unlabelled="无标注文本 U|语料", labelled="标注数据 D|标注数据", training_set="训练集", validation_set="验证集",
        test_set="测试集", new_data="新收集的数据|漂移", task_stream="后来的任务与数据|持续学习",
    ),
    **_concepts(
        "parameters",
        random_parameters="随机参数|初始化", theta_start="参数 θ₀|初始化", theta_tuned="参数 θ̂|微调",
        biases="原有的偏置|偏置", new_parameters="新增的参数|参数",
    ),
    **_concepts("task", downstream="下游任务"),
    **_concepts(
        "measure",
        backward_transfer="遗忘的度量|后向迁移", baselines="基线", score_before="微调前的精度|准确率",
    ),
}
