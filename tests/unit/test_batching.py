"""Words to pieces and back: nothing lost, nothing twice; batches within their bounds. References: the input itself."""

from pathlib import Path

import numpy as np
import pytest

from utils import batching, checkpoints, corpora, prediction
from utils.errors import ConfigError, DataError

FIXTURE = Path(__file__).parent.parent / "fixtures" / "bert" / "backbone"


@pytest.fixture(scope="module")
def tokenizer():
    return checkpoints.load_tokenizer(FIXTURE)


def restored(windows):
    """Labels put back in their sentences; fails if a word is owned twice."""
    found = [np.full(n, -1) for n in windows.lengths]
    for i, sentence in enumerate(windows.sentence):
        assert (found[sentence][windows.words[i]] == -1).all(), "a word is owned by two windows"
        found[sentence][windows.words[i]] = windows.labels[i]
    return found


def test_alignment_round_trip_is_complete_on_the_whole_corpus(tokenizer):
    for split in corpora.people_daily().values():
        labels = list(split["ner_tags"])
        windows = batching.encode_words(tokenizer, list(split["tokens"]), labels)
        assert all(np.array_equal(a, b) for a, b in zip(restored(windows), labels, strict=True))


@pytest.mark.parametrize("max_length", [40, 64])
def test_words_of_many_pieces_and_odd_characters_survive_windows(tokenizer, max_length):
    random = np.random.default_rng(1)
    odd = ["cafe", "news", "resume", "北", "京", "\u200b", "\u3000", "\x00", "", "é", "😀", "a" * 150, "[SEP]", "[CLS]", "１９９８"]
    sentences = [[odd[i] for i in random.integers(0, len(odd), n)] for n in (1, 5, 37, 39, 80, 200, 400)]
    labels = [random.integers(0, 9, len(s)).tolist() for s in sentences]
    windows = batching.encode_words(tokenizer, sentences, labels, max_length=max_length)
    assert windows.piece_counts().max() <= max_length
    assert all(np.array_equal(a, b) for a, b in zip(restored(windows), labels, strict=True))


def test_each_label_stands_at_the_first_piece_of_its_word(tokenizer):
    sentence = ["new", "news", "resume", "北"]
    windows = batching.encode_words(tokenizer, [sentence], [[1, 2, 3, 4]])
    pieces = tokenizer.convert_ids_to_tokens(windows.input_ids[0])
    assert pieces == ["[CLS]", "new", "new", "##s", "re", "##sume", "北", "[SEP]"]
    assert [pieces[p] for p in windows.positions[0]] == ["new", "new", "re", "北"]
    batch = batching.token_batches(windows, [np.array([0])])(0)
    assert batch["labels"][0, :8].tolist() == [0, 1, 2, 0, 3, 0, 4, 0]
    assert batch["weights"][0, :8].tolist() == [0, 1, 1, 0, 1, 0, 1, 0]


def test_every_word_is_owned_where_it_has_most_context(tokenizer):
    sentence = ["北"] * 100
    windows = batching.encode_words(tokenizer, [sentence], max_length=60)
    spans = []  # (first word, last word) held by each window, found by brute force from the pieces
    encoded = tokenizer(
        [sentence], is_split_into_words=True, truncation=True, max_length=60, stride=batching.OVERLAP,
        return_overflowing_tokens=True,
    )
    for i in range(len(encoded["input_ids"])):
        held = [w for w in encoded.word_ids(i) if w is not None]
        spans.append((held[0], held[-1]))
    for i, words in enumerate(windows.words):
        for word in words:
            def context(span):
                left = 10**6 if span[0] == 0 else word - span[0]
                right = 10**6 if span[1] == 99 else span[1] - word
                return min(left, right) if span[0] <= word <= span[1] else -1
            assert context(spans[i]) == max(context(span) for span in spans)


def test_every_epoch_holds_every_window_once_in_the_same_number_of_steps():
    lengths = np.random.default_rng(0).integers(3, 128, 500)
    one = len(batching.batch_plan(lengths, 1024, 1, seed=3))
    steps = batching.batch_plan(lengths, 1024, 3, seed=3)
    assert len(steps) == 3 * one
    epochs = [np.concatenate(steps[i * one : (i + 1) * one]) for i in range(3)]
    assert all(np.array_equal(np.sort(e), np.arange(500)) for e in epochs)
    assert not np.array_equal(epochs[0], epochs[1])
    assert max(batching.padded(lengths[s].max()) * len(s) for s in steps) <= 1024
    real = lengths.sum() * 3 / sum(batching.padded(lengths[s].max()) * len(s) for s in steps)
    assert real > 0.85, "buckets by length should leave little padding"


def test_bad_input_is_named(tokenizer):
    with pytest.raises(DataError, match="第 2 句有 1 个词，却有 2 个标签"):
        batching.encode_words(tokenizer, [["北"], ["京"]], [[0], [0, 1]])
    with pytest.raises(ConfigError, match="max_length"):
        batching.encode_words(tokenizer, [["北"]], max_length=8)
    with pytest.raises(ConfigError, match="batch_tokens"):
        batching.batch_plan(np.array([100]), 64, 1)


def test_prediction_returns_to_each_word_its_own_label(tokenizer):
    """A model that answers with the id of the piece: so each word must get the id of its own first piece."""
    characters = "我你他们的是在中国北京上海大学生和人民"
    random = np.random.default_rng(2)
    sentences = [[characters[i] for i in random.integers(0, len(characters), n)] for n in (3, 50, 130, 300, 1)]

    class Echo:
        def __call__(self, inputs, training=False):
            import tensorflow as tf

            return tf.one_hot(inputs["input_ids"], 100)

    found = prediction.predict_words(Echo(), batching.encode_words(tokenizer, sentences, max_length=64), batch_tokens=512)
    expected = [tokenizer.convert_tokens_to_ids(sentence) for sentence in sentences]
    assert [row.tolist() for row in found] == expected


def test_text_predictions_come_back_in_the_order_of_the_texts(tokenizer):
    class Length:
        """Answers 1 for a text of more than five real pieces, from the mask alone."""

        def __call__(self, inputs, training=None):
            import tensorflow as tf

            real = tf.reduce_sum(inputs["attention_mask"], axis=1)
            return tf.stack([tf.fill(tf.shape(real), 5), real], axis=1)

    texts = ["好" * n for n in (9, 1, 30, 2, 3, 12, 4)]
    found = prediction.predict_texts(Length(), batching.encode_texts(tokenizer, texts, 64), batch_tokens=64)
    assert found.tolist() == [1, 0, 1, 0, 0, 1, 1]
