"""What the status says of models whose provider cannot be asked."""

from pathlib import Path

from orchestra_router.config import load
from orchestra_router.policy.health import HealthView
from orchestra_router.policy.status import provider_status


def test_no_model_of_a_provider_without_a_key_is_ok(tmp_path: Path) -> None:
    config = load({"ORCHESTRA_HOME": str(tmp_path), "XAI_API_KEY": "k"})
    healthy = HealthView({}, 0, "")

    ready, missing = (provider_status(config.catalog.providers[name], config, healthy) for name in ("xai", "gemini"))

    assert {model.state for model in ready.models} == {"ok"}
    assert "ok" not in {model.state for model in missing.models}
    assert "unavailable" in {model.state for model in missing.models}
    assert missing.fix.startswith("set GOOGLE_API_KEY or GEMINI_API_KEY")
