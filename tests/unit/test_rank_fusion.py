"""Rankings are joined by reciprocal rank fusion."""

from orchestrator.memory.documents import Document, Passage
from orchestrator.memory.retrieval import RRF_K, Hit, fuse


def hit(line: int, way: str, *terms: str, document: Document | None = None) -> Hit:
    return Hit(document, Passage("a.txt", line, line, 0, "text"), list(terms), (way,))


def test_one_ranking_keeps_its_order() -> None:
    fused = fuse([[hit(3, "words"), hit(1, "words"), hit(2, "words")]])

    assert [item.passage.line for item in fused] == [3, 1, 2]
    assert fused[0].score == 1 / (RRF_K + 1)


def test_a_passage_in_several_rankings_precedes_the_best_of_one() -> None:
    words = [hit(1, "words", "late"), hit(2, "words", "late")]
    trigrams = [hit(3, "trigrams", "refnud"), hit(2, "trigrams", "refnud", "late")]

    fused = fuse([words, trigrams], terms=["late", "refnud"])

    assert [item.passage.line for item in fused] == [2, 1, 3]
    assert fused[0].found_by == ("words", "trigrams")
    assert fused[0].terms == ["late", "refnud"]
    assert fused[0].score == 1 / (RRF_K + 2) + 1 / (RRF_K + 2)


def test_the_same_place_in_two_documents_is_two_passages() -> None:
    one, two = Document("1", False), Document("2", False)

    assert len(fuse([[hit(1, "words", document=one)], [hit(1, "words", document=two)]])) == 2
