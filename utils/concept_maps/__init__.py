"""Concept maps as data: the article's charts, the corrected maps, the rules that judge both, and how they are drawn."""

from __future__ import annotations

from . import article, corrected, rules
from .article import Arrow, ArticleChart
from .corrected import ConceptMap
from .drawing import draw
from .nodes import CONCEPTS, Concept
from .rules import RELATIONS, Contradiction, Edge, contradictions

CORRECTED = {found.section: found for found in corrected.MAPS}
ARTICLE = {found.section: found for found in article.CHARTS}
FACTS = tuple(rules.facts_of(found.edges for found in corrected.MAPS))


def faults(chart: ArticleChart | ConceptMap) -> list[Contradiction]:
    """What speaks against a map by itself, or against a chart of the article given all that the corrected maps say."""
    if isinstance(chart, ConceptMap):
        return contradictions(chart.edges, required=chart.required)
    return contradictions([arrow.edge for arrow in chart.arrows], FACTS, CORRECTED[chart.section].required)


__all__ = ["ARTICLE", "CONCEPTS", "CORRECTED", "FACTS", "RELATIONS", "Arrow", "ArticleChart", "Concept", "ConceptMap",
           "Contradiction", "Edge", "contradictions", "draw", "faults"]
