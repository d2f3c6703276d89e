"""The language is light to import."""

import subprocess
import sys


def test_the_package_and_its_language_import_without_torch():
    script = """
import sys, vitruvius, vitruvius.space
heavy = {"torch", "numpy", "pandas", "sklearn", "pyarrow", "optuna"} & set(sys.modules)
assert not heavy, heavy
"""
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
