"""Wheel and sdist in empty environments with the newest libraries, on every Python that is here: ``make package``.

Each is tried in a folder outside the checkout. A Python that is not here is skipped; where there is no CPU wheel of torch
for it, only what needs no torch is tried. Both are said. All else that goes wrong, an installation too, is a failure.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import versions
from lending import lend
from packaging.requirements import Requirement

HERE = Path(__file__).parent
OWN = "{}.{}".format(*sys.version_info)
PIP = (sys.executable, "-m", "pip", "-qq", "--disable-pip-version-check")


def run(*command, **options):
    """What a command prints; it fails with all that it said."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options)
    if done.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))}\n{done.stdout.strip()}")
    return done.stdout.strip()


def promised(project):
    """The versions of Python that the project says it is for."""
    return re.findall(r"Python :: (3\.\d+)", "\n".join(project["classifiers"]))


def python(version):
    """An interpreter of a version: this one, one on the path, or one of pyenv's; ``None`` if there is none."""
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    named = [sys.executable] if version == OWN else [shutil.which(f"python{version}")]
    for path in [*named, *sorted(root.glob(f"versions/{version}.*/bin/python"))]:
        ask = [path, "-c", "import sys, venv; print('{}.{}'.format(*sys.version_info))"]
        if path and subprocess.run(ask, capture_output=True, text=True).stdout.strip() == version:
            return path  # a shim of pyenv may be on the path and lead nowhere
    return None


def environment(folder, interpreter):
    """An empty environment, without pip; its Python."""
    run(interpreter, "-m", "venv", "--without-pip", folder)
    return folder / "bin" / "python"


def install(python, *what):
    run(*PIP, "--python", python, "install", "--no-compile", *what)


def has_torch(python, version):
    """Whether pip has the pinned torch for a Python, without the libraries of accelerators."""
    if version == OWN:
        return True  # the tests run with it
    wheel = versions.pinned("torch") + ("+cpu" if sys.platform == "linux" else "")
    line = (*PIP, "--python", python, "install", "--dry-run", "--no-deps", "--only-binary", ":all:", wheel)
    return subprocess.run(line, capture_output=True).returncode == 0


def tried(archive, version, interpreter, folder, project):
    """Install an archive, and use it; what there is to say."""
    name = f"{'wheel' if archive.suffix == '.whl' else 'sdist'} on Python {version}"
    try:
        python = environment(folder / "environment", interpreter)
        (folder / "empty").mkdir()
        if whole := has_torch(python, version):
            if version == OWN:
                lend(python)  # compiled for this Python, and for no other
            install(python, archive, versions.pinned("torch"))
        else:
            install(python, archive, "--no-deps")
            install(python, *(text for text in project["dependencies"] if Requirement(text).name != "torch"))
        script = HERE / ("smoke.py" if whole else "basics.py")
        own = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        run(python, script, cwd=folder / "empty", env=own)
    except RuntimeError as error:
        return False, f"{name}: FAILED\n{error}"
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if whole:
        return True, f"{name}: works"
    return (
        True,
        f"{name}: works; tried without torch, for pip finds no CPU wheel of {versions.pinned('torch')} for it",
    )


def main(out):
    project = versions.project()
    run(sys.executable, "-m", "build", "--outdir", out / "dist", versions.ROOT)  # the wheel from the sdist
    archives = sorted((out / "dist").iterdir())
    pythons = {version: python(version) for version in promised(project)}
    missing = [version for version, path in pythons.items() if path is None]
    for version in missing:
        print(f"Python {version}: skipped, it is not on this machine")
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        tries = [
            pool.submit(tried, archive, version, path, out / (version + archive.suffix), project)
            for version, path in pythons.items()
            if path
            for archive in archives
            if archive.suffix == ".whl" or version == OWN  # a wheel for all is made from the sdist by one
        ]
        results = [future.result() for future in tries]
    for _, text in results:
        print(text)
    failed = sum(not good for good, _ in results)
    print(f"{len(results) - failed} passed, {failed} failed, {len(missing)} skipped")
    return failed > 0


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        sys.exit(main(Path(folder)))
