import re
import threading
from collections.abc import Callable
from ctypes import c_float, c_int, c_int64, c_void_p
from pathlib import Path

import pytest

from rnn.errors import KernelsError
from rnn.kernels import build, library
from rnn.kernels.library import LEVELS, Library, load, select, status
from tests.unit.rnn.kernels.stubs import HEADER, build_stub, declarations, write_stubs

MakeLibraries = Callable[..., Path]
compiled = pytest.mark.compiler


@pytest.fixture
def make_libraries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakeLibraries:
    """Compiles stubs for a processor of some rank, in place of the kernels; nothing is selected."""
    native = write_stubs(tmp_path / "native")
    monkeypatch.setattr(library, "FOLDER", tmp_path)
    monkeypatch.setattr(library, "_selected", None)

    def make(*levels: str, cpu: int = 2, version: int = library.INTERFACE_VERSION) -> Path:
        for level in levels:
            build_stub(level, tmp_path, native, cpu=cpu, version=version)
        return tmp_path

    return make


@pytest.fixture
def stub(make_libraries: MakeLibraries) -> Library:
    make_libraries("plain")
    return load("plain")


def test_the_declared_types_are_those_of_the_header() -> None:
    numbers = {"int": c_int, "int64_t": c_int64, "float": c_float}
    declared = {
        **library._PLAIN,
        **{name: (c_int, arguments) for name, arguments in library._FALLIBLE.items()},
        **{name: (c_void_p, arguments) for name, arguments in library._MAKERS.items()},
    }
    written = {}
    for result, name, arguments in declarations():
        kinds = [c_void_p if "*" in given else numbers[given.split()[0]] for given in arguments]
        kind = c_void_p if "*" in result else numbers.get(result)
        written[name] = (kind, tuple(kinds))
    assert declared == written


def test_the_interface_version_is_that_of_the_header() -> None:
    version = re.search(r"#define RK_INTERFACE_VERSION (\d+)", HEADER.read_text(encoding="utf-8"))
    assert version is not None
    assert int(version[1]) == library.INTERFACE_VERSION


@compiled
def test_the_kernels_of_this_installation_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "_selected", None)
    assert status().level != "torch", status().reason


@compiled
@pytest.mark.parametrize(
    ("cpu", "level", "reason"),
    [
        (2, "avx512", "the best level there is"),
        (1, "avx2", "avx512: the processor has no AVX-512 with bf16 and VNNI"),
        (
            0,
            "plain",
            "avx512: the processor has no AVX-512 with bf16 and VNNI;"
            " avx2: the processor has no AVX2 with FMA",
        ),
    ],
)
def test_the_best_level_that_the_processor_runs_is_taken(
    make_libraries: MakeLibraries, cpu: int, level: str, reason: str
) -> None:
    make_libraries(*LEVELS, cpu=cpu)
    assert (status().level, status().reason) == (level, reason)
    used = load()
    assert used is not None
    assert used.level == level


@compiled
def test_a_level_that_was_not_built_is_passed_over(make_libraries: MakeLibraries) -> None:
    make_libraries("avx2", "plain")
    assert status().level == "avx2"
    assert status().reason == "avx512: libreprise_avx512.so was not built"


@compiled
def test_a_library_of_another_version_is_passed_over(make_libraries: MakeLibraries) -> None:
    make_libraries("avx512", version=library.INTERFACE_VERSION + 1)
    make_libraries("avx2", "plain")
    assert status().level == "avx2"
    assert "libreprise_avx512.so is of other sources" in status().reason


@compiled
def test_a_library_without_a_function_is_passed_over(make_libraries: MakeLibraries) -> None:
    folder = make_libraries("plain")
    stubs = folder / "native" / "stubs.cpp"
    stubs.write_text(stubs.read_text().replace("rk_sequences(", "rk_sentences("))
    make_libraries("avx2")
    assert status().level == "plain"
    assert "undefined symbol: rk_sequences" in status().reason


@compiled
def test_a_torn_library_is_passed_over_and_its_folder_not_told(
    make_libraries: MakeLibraries,
) -> None:
    folder = make_libraries("plain")
    (folder / build.library_file("avx2")).write_bytes(b"\x7fELF")
    assert status().level == "plain"
    assert "cannot load libreprise_avx2.so: file too short" in status().reason
    assert str(folder) not in status().reason


def test_without_libraries_torch_answers(make_libraries: MakeLibraries) -> None:
    assert (status().level, status().reason) == ("torch", "libreprise_plain.so was not built")
    assert load() is None


@compiled
@pytest.mark.parametrize("level", LEVELS)
def test_a_level_can_be_forced(make_libraries: MakeLibraries, level: library.Level) -> None:
    make_libraries(*LEVELS)
    assert select(level) == status()
    assert (status().level, status().reason) == (level, "it was chosen")


@compiled
def test_a_forced_level_that_cannot_run_is_an_error(make_libraries: MakeLibraries) -> None:
    make_libraries(*LEVELS, cpu=1)
    select("plain")
    with pytest.raises(KernelsError, match="level avx512: the processor has no AVX-512"):
        select("avx512")
    assert status().level == "plain"


def test_a_forced_level_that_was_not_built_is_an_error(make_libraries: MakeLibraries) -> None:
    with pytest.raises(KernelsError, match=r"libreprise_plain\.so was not built"):
        load("avx2")


@compiled
def test_the_kernels_can_be_switched_off(make_libraries: MakeLibraries) -> None:
    make_libraries("plain")
    assert (select("off").level, load()) == ("torch", None)
    assert select("auto").level == "plain"


@compiled
def test_a_thread_keeps_its_pools_by_their_size(stub: Library) -> None:
    assert stub.pool(2) == stub.pool(2) != stub.pool(1)
    assert stub.functions.stub_pools() == 2


@compiled
def test_a_threads_pools_are_its_own_and_end_with_it(stub: Library) -> None:
    others = []
    mine = stub.pool(2)
    thread = threading.Thread(target=lambda: others.append(stub.pool(2)))
    thread.start()
    thread.join()
    assert others != [mine]
    assert stub.functions.stub_pools() == 1


@compiled
def test_what_fails_in_a_library_is_raised(stub: Library) -> None:
    fails = stub.functions.rk_network_set_output
    assert fails(None, 0, None, None) == 0
    with pytest.raises(MemoryError, match="rk_network_set_output"):
        fails(None, 1, None, None)
    with pytest.raises(ValueError, match="rk_network_set_output does not take these arguments"):
        fails(None, 2, None, None)
    with pytest.raises(MemoryError, match="rk_network_new"):
        stub.functions.rk_network_new(0, 0, 0, 1, 1, 1, 0)
    with pytest.raises(MemoryError, match="rk_pool_new"):
        stub.pool(0)
