import json
import tracemalloc
from hashlib import blake2b

import numpy as np
import pytest

from vn_magic.offline.lexical import DIMENSION, LONGEST_TEXT, embed

SENTENCES = {
    "The cat sleeps on the sofa.": "Cats sleep on sofas",
    "Knead flour, water, salt and yeast, let the dough rise and bake the bread.": (
        "Our sourdough bread: let the dough rest overnight, then bake it in a hot oven."
    ),
    "Stock prices fell after the central bank raised interest rates.": (
        "The central bank left its interest rates alone, and stocks rose."
    ),
    "Der Hund läuft durch den Park und bellt.": "Hunde bellen im Park",
    "How do I reset my password?": "I forgot my password and cannot log in.",
    "The train to Berlin leaves at seven.": "Trains to Berlin were late this morning",
    "Le chat dort sur le canapé du salon.": "Deux chats dorment sur le canapé",
    "El perro corre por la playa.": "Los perros corren en la playa",
    "猫がソファで寝ている。": "ソファの上で猫が眠る",
    "今天天气很好，我们去公园。": "公园里的天气今天很好",
    "🎉🎉 party tonight": "party 🎉",
    "Machine learning finds patterns in data.": "Deep learning is a kind of machine learning",
}

# The first and the last value, and a hash of all 3072 as little-endian float64. Vectors that people have
# stored must not move: a change here needs another VERSION, and its reason.
GOLDEN = {
    "What is the meaning of life?": (0.018716475, -0.013084969, "41a0b80d2d6199c842931cc0c8655b75"),
    "Straße, ΣΊΣΥΦΟΣ & ﬁne ½ cafés": (0.003597347, -0.003379326, "0c1cfafbe33446f467608425776feda6"),
    "猫がソファで寝ている。今天天气很好": (0.017572074, -0.003951615, "5ca0769b214284568d1e2fce9e368d36"),
    "🎉👩\u200d💻❤️": (0.018547302, 0.000191209, "a1736cd3d48778dba5ba122aebe16926"),
    "?!...": (-0.014169919, -0.014169919, "12c05d2fa2efc112a9385308a8539dc5"),
    "x": (-0.016904931, 0.019158922, "775d9f8032110511a4ff43f1268c4692"),
    "नमस्ते दुनिया ที่บ้าน مرحبا": (-0.004352941, -0.022135169, "c6bc522526fc8603d3c6fc5c5adc2b37"),
    " ".join(f"word{i * i} and {i**3}" for i in range(800)): (
        -0.022030892,
        0.014430054,
        "62b70d5be172c8e008a7a2c489faddc9",
    ),
}


def cosine(first: str, second: str, dimension: int = DIMENSION) -> float:
    a, b = embed(first, dimension), embed(second, dimension)
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))


@pytest.mark.parametrize("text", GOLDEN, ids=range(len(GOLDEN)))
def test_a_text_has_the_same_vector_on_every_machine_and_in_every_version(text: str) -> None:
    values = embed(text)
    digest = blake2b(values.astype("<f8").tobytes(), digest_size=16).hexdigest()
    assert (values[0], values[-1], digest) == GOLDEN[text]


def test_a_title_has_the_same_features_everywhere_too() -> None:
    values = embed("Knead the dough.", title="Bread")
    digest = blake2b(values.astype("<f8").tobytes(), digest_size=16).hexdigest()
    assert (values[0], digest) == (-0.018550941, "07617708fc57959e9876a1fc0f56a434")


def test_a_direction_is_splitmix64_seeded_with_the_hash_of_its_feature() -> None:
    state, mask, signs = int.from_bytes(blake2b(b"word x", digest_size=8).digest(), "little"), 2**64 - 1, []
    for _ in range(48):
        state = (state + 0x9E3779B97F4A7C15) & mask
        mixed = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & mask
        mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & mask
        mixed ^= mixed >> 31
        signs += [1 if mixed >> bit & 1 else -1 for bit in range(64)]
    assert np.array_equal(np.sign(embed("x")), signs)


@pytest.mark.parametrize("dimension", [1, 63, 64, 128, 256, 768, 1536, 3071])
def test_a_shorter_vector_is_the_beginning_of_the_full_one(dimension: int) -> None:
    text = "What is the meaning of life?"
    assert embed(text, dimension).shape == (dimension,)
    assert np.array_equal(embed(text, dimension), embed(text)[:dimension])


def test_only_the_full_vector_has_unit_length() -> None:
    assert np.linalg.norm(embed("What is the meaning of life?")) == pytest.approx(1, abs=1e-7)
    assert np.linalg.norm(embed("What is the meaning of life?", 768)) == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("text", ["x", "7", "!", "🎉", "猫", "か", "é", "ß", " ", "\n\t", "\x00", "\ud800", "", "the"])
def test_any_text_however_small_has_a_finite_vector_without_zeros(text: str) -> None:
    values = embed(text)
    assert np.isfinite(values).all()
    assert (values != 0).all()
    assert np.linalg.norm(values) == pytest.approx(1, abs=1e-7)


@pytest.mark.parametrize("dimension", [0, -1, 3073])
def test_a_dimension_out_of_range_is_an_error(dimension: int) -> None:
    with pytest.raises(ValueError, match="between 1 and 3072"):
        embed("x", dimension)


def test_every_value_survives_json_and_has_at_most_nine_decimals() -> None:
    values = embed("What is the meaning of life?").tolist()
    assert json.loads(json.dumps(values)) == values
    assert all(value == round(value, 9) for value in values)


@pytest.mark.parametrize(("text", "expected"), SENTENCES.items(), ids=range(len(SENTENCES)))
def test_the_nearest_of_two_dozen_texts_at_256_values_is_the_one_a_reader_expects(text: str, expected: str) -> None:
    others = [other for pair in SENTENCES.items() for other in pair if other != text]
    assert max(others, key=lambda other: cosine(text, other, 256)) == expected


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("bread", "Knead flour, water, salt and yeast, let the dough rise and bake the bread."),
        ("forgotten password", "How do I reset my password?"),
        ("interest rates", "Stock prices fell after the central bank raised interest rates."),
        ("what is machine learning?", "Machine learning finds patterns in data."),
        ("天气", "今天天气很好，我们去公园。"),
    ],
)
def test_a_short_query_finds_the_text_that_has_its_words(query: str, expected: str) -> None:
    assert max(SENTENCES, key=lambda text: cosine(query, text, 256)) == expected


@pytest.mark.parametrize(
    ("first", "second", "at_least"),
    [
        ("The central bank raised interest rates.", "The Central Bank raised interest rates", 0.95),
        ("Please recieve the package", "Please receive the package", 0.6),
        ("one two three four five six seven", "one two three four five six eight", 0.7),
        ("ＦＵＬＬＷＩＤＴＨ ﬁnd", "fullwidth find", 1.0),
    ],
)
def test_near_duplicates_are_near(first: str, second: str, at_least: float) -> None:
    assert cosine(first, second) == pytest.approx(1, abs=1 - at_least + 1e-9)


def test_texts_that_share_only_stop_words_are_far_apart() -> None:
    assert abs(cosine("The cat is on the sofa", "The train is on the bridge")) < 0.2
    assert abs(cosine("quarterly revenue grew", "湖の魚は静かだ")) < 0.1


def test_a_title_draws_a_text_towards_its_words() -> None:
    query = embed("bread")
    assert query @ embed("Knead the dough.", title="Bread") > query @ embed("Knead the dough.") + 0.2


def test_a_long_text_is_cut_without_notice() -> None:
    start = ("The quick brown fox. " * 500)[:LONGEST_TEXT]
    assert np.array_equal(embed(start + "Something else entirely."), embed(start))


def test_a_megabyte_of_noise_needs_little_memory() -> None:
    digits = np.random.default_rng(0).integers(ord("a"), ord("z") + 3, 1_000_000, dtype=np.uint8)
    text = digits.tobytes().decode().replace("{", " ").replace("|", " ")
    tracemalloc.start()
    embed(text)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100e6
