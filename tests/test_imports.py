"""What importing costs, and that the base installation suffices for what it promises."""

import subprocess
import sys

import pytest

HEAVY = ("torch", "transformers", "trl", "datasets", "math_verify")


def loaded_by(statement: str) -> set[str]:
    code = f"import sys; {statement}; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "statement",
    [
        "import trainer",
        "from trainer import MonitorClient",
        "import monitor_service.cli.main",
        "import trainer.demo",
    ],
)
def test_nothing_heavy_is_imported_before_it_is_used(statement: str) -> None:
    assert not loaded_by(statement) & set(HEAVY)


def test_importing_the_package_imports_nothing_of_ours_or_others() -> None:
    loaded = loaded_by("import trainer")
    assert "httpx" not in loaded
    assert "numpy" not in loaded


def test_an_unknown_name_is_an_attribute_error() -> None:
    import trainer

    with pytest.raises(AttributeError, match="GRPOTrainr"):
        trainer.GRPOTrainr  # noqa: B018
