"""Problems to train on: any dataset becomes the columns `prompt` and `answer`."""

from trainer.data.loading import load_prompts
from trainer.data.sources import SOURCES
from trainer.data.templates import PLACEHOLDER, TEMPLATES

__all__ = ["PLACEHOLDER", "SOURCES", "TEMPLATES", "load_prompts"]
