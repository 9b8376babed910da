import os
import platform
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from rnn.kernels import build
from rnn.kernels.build import BuildError, build_all, compile_level, library_file
from tests.unit.rnn.kernels.stubs import COMPILES, write_compiler, write_stubs

ROOT = Path(__file__).resolve().parents[4]
LEVELS = ["avx512", "avx2", "plain"]


@pytest.fixture
def native(tmp_path: Path) -> Path:
    return write_stubs(tmp_path / "native")


@pytest.fixture
def compiler(tmp_path: Path) -> str:
    return write_compiler(tmp_path / "compiler", COMPILES)


@pytest.fixture(autouse=True)
def x86(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")


def test_each_level_gets_its_library(tmp_path: Path, native: Path, compiler: str) -> None:
    results = build_all(tmp_path / "made", compiler=compiler, native=native)
    assert [str(built) for built in results] == [f"{level}: compiled" for level in LEVELS]
    made = {path.name for path in (tmp_path / "made").iterdir()}
    assert made == {library_file(level) for level in LEVELS}


def test_on_another_machine_there_is_one_level(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    assert build.levels() == ("plain",)


def test_what_is_current_is_not_compiled_again(tmp_path: Path, native: Path, compiler: str) -> None:
    output = tmp_path / "made.so"
    assert compile_level("avx2", output, compiler=compiler, native=native)
    assert not compile_level("avx2", output, compiler="/nowhere", native=native)


def test_other_flags_or_sources_are_compiled(tmp_path: Path, native: Path, compiler: str) -> None:
    output = tmp_path / "made.so"
    compile_level("avx2", output, compiler=compiler, native=native)
    assert compile_level("plain", output, compiler=compiler, native=native)
    assert compile_level("plain", output, compiler=compiler, native=native, extra_flags=["-g"])
    with (native / "kernels.h").open("a") as header:
        header.write("// changed\n")
    assert compile_level("plain", output, compiler=compiler, native=native, extra_flags=["-g"])


@pytest.mark.compiler
def test_a_real_library_carries_its_digest(tmp_path: Path, native: Path) -> None:
    output, flags = tmp_path / "made.so", ["-DCPU=0", "-DVERSION=1"]
    assert compile_level("plain", output, native=native, extra_flags=flags)
    assert not compile_level("plain", output, native=native, extra_flags=flags)


@pytest.mark.compiler
def test_what_a_real_compiler_says_is_kept(tmp_path: Path, native: Path) -> None:
    (native / "stubs.cpp").write_text("int main() { return nothing_of_this_name; }")
    with pytest.raises(BuildError, match="nothing_of_this_name"):
        compile_level("plain", tmp_path / "made.so", native=native)


def test_a_library_that_cannot_be_made_again_goes(
    tmp_path: Path, native: Path, compiler: str
) -> None:
    """The one of the sources as they were would be taken for one of these."""
    output = tmp_path / "made" / "made.so"
    compile_level("plain", output, compiler=compiler, native=native)
    (native / "more.cpp").write_text("")
    failing = write_compiler(tmp_path / "failing", ["sys.exit('more.cpp:1: that is nothing')"])
    with pytest.raises(BuildError, match=r"failing ended with 1: more\.cpp:1: that is nothing"):
        compile_level("plain", output, compiler=failing, native=native)
    assert list(output.parent.iterdir()) == []


def test_one_level_that_fails_leaves_the_others(tmp_path: Path, native: Path) -> None:
    old = ["if '-mavx512bf16' in given: sys.exit('unknown option -mavx512bf16')", *COMPILES]
    compiler = write_compiler(tmp_path / "old", old)
    first, *others = build_all(tmp_path / "made", compiler=compiler, native=native)
    assert first.problem is not None
    assert "unknown option -mavx512bf16" in str(first)
    assert [built.problem for built in others] == [None, None]


def test_without_a_compiler_every_level_says_so(
    tmp_path: Path, native: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    for built in build_all(tmp_path / "made", native=native):
        assert str(built).startswith(f"{built.level}: not built: no C++ compiler")


def test_a_compiler_that_is_not_there_is_named(tmp_path: Path, native: Path) -> None:
    for built in build_all(tmp_path / "made", compiler="/nowhere/c++ -m64", native=native):
        assert "/nowhere/c++ cannot be run" in str(built)


def test_a_system_without_a_static_runtime_uses_the_shared_one(
    tmp_path: Path, native: Path
) -> None:
    lines = ["if '-static-libstdc++' in given: sys.exit('cannot find -lstdc++')", *COMPILES]
    compiler = write_compiler(tmp_path / "compiler", lines)
    assert compile_level("plain", tmp_path / "made.so", compiler=compiler, native=native)


def wheel(folder: Path, **environment: str) -> tuple[str, set[str], str]:
    """Builds a wheel of `rnn` alone: its name, the libraries in it, and what was said."""
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    ignored = shutil.ignore_patterns("*.so", "__pycache__")
    shutil.copytree(ROOT / "rnn", folder / "rnn", ignore=ignored)
    done = subprocess.run(
        [sys.executable, "setup.py", "bdist_wheel", "--dist-dir", "dist"],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (path,) = (folder / "dist").iterdir()
    with zipfile.ZipFile(path) as opened:
        names = set(opened.namelist())
    assert "rnn/kernels/native/kernels.h" in names
    return path.name, {name for name in names if name.endswith(".so")}, done.stderr


def test_a_wheel_holds_the_libraries_and_is_of_this_platform(tmp_path: Path, compiler: str) -> None:
    name, libraries, _ = wheel(tmp_path, CXX=compiler)
    assert libraries == {f"rnn/kernels/{library_file(level)}" for level in build.levels()}
    assert "linux" in name


def test_a_package_installs_where_nothing_compiles(tmp_path: Path) -> None:
    failing = write_compiler(tmp_path / "failing", ["sys.exit('no room for that')"])
    _, libraries, said = wheel(tmp_path, CXX=failing)
    assert not libraries
    assert "plain: not built" in said
    assert "no room for that" in said


def test_the_kernels_can_be_left_out(tmp_path: Path, compiler: str) -> None:
    name, libraries, _ = wheel(tmp_path, CXX=compiler, REPRISE_BUILD_KERNELS="0")
    assert not libraries
    assert name.endswith("-none-any.whl")
