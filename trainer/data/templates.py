r"""What a model is asked: a question in a template, as text or as a conversation.

A template is named or given in full: text in which every "{question}" is replaced by the question.
Other braces stand for themselves, so that "\boxed{}" needs no escape.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

PLACEHOLDER = "{question}"

Message = dict[str, str]
"""`role` and `content`."""

Prompt = str | list[Message]
"""Text for the model to continue, or messages for its chat template."""

BOXED = r"Please reason step by step, and put your final answer within \boxed{}."
"""The instruction that Qwen2.5-Math was trained with."""

THINK = (
    "First think about the problem, then answer it: <think>your reasoning</think>"
    r"<answer>your answer, the final result within \boxed{}</answer>."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """A question's surroundings.

    Attributes:
        user: text with at least one placeholder.
        system: instruction for the role of that name; only in a conversation.
        is_chat: whether the prompt is a conversation.
    """

    user: str = PLACEHOLDER
    system: str | None = None
    is_chat: bool = False

    def render(self, question: Prompt) -> Prompt:
        """The prompt for a question.

        A question that is a conversation already stays one: the template goes around its last
        message, and the system's instruction before it where it has none.
        """
        if isinstance(question, str):
            text = self.user.replace(PLACEHOLDER, question)
            return self._begun([{"role": "user", "content": text}]) if self.is_chat else text
        *before, last = question
        text = self.user.replace(PLACEHOLDER, last["content"])
        return self._begun([*before, {**last, "content": text}])

    def _begun(self, messages: list[Message]) -> list[Message]:
        if self.system is None or messages[0]["role"] == "system":
            return messages
        return [{"role": "system", "content": self.system}, *messages]


TEMPLATES: Mapping[str, Template] = MappingProxyType(
    {
        "plain": Template(),
        "boxed": Template(user=f"{PLACEHOLDER}\n{BOXED}"),
        "chat": Template(system=BOXED, is_chat=True),
        "think": Template(system=THINK, is_chat=True),
    }
)


def find(name_or_text: str, system_prompt: str | None = None) -> Template:
    """The template of this name, or in these words.

    Args:
        name_or_text: one of `TEMPLATES`, or text with the placeholder.
        system_prompt: makes it a conversation, with this in the place of the template's own
            instruction for the system; "" is none.

    Raises:
        ValueError: neither a name nor a text with the placeholder.
    """
    template = TEMPLATES.get(name_or_text)
    if template is None:
        if PLACEHOLDER not in name_or_text:
            raise ValueError(
                f"prompt_template {name_or_text!r} does not contain {PLACEHOLDER}, and is none of: "
                f"{', '.join(TEMPLATES)}"
            )
        template = Template(user=name_or_text)
    if system_prompt is None:
        return template
    return Template(user=template.user, system=system_prompt or None, is_chat=True)


def check_chat_template(prompts: Sequence[Prompt], tokenizer: Any, model_name: str) -> None:
    """Refuse conversations for a model that cannot read them.

    Raises:
        ValueError: the prompts are conversations, and `tokenizer` has no chat template.
    """
    if prompts and not isinstance(prompts[0], str) and not tokenizer.chat_template:
        raise ValueError(
            f"model_name_or_path {model_name!r} has no chat template, and the prompts are "
            "conversations; take a prompt_template that is text (plain, boxed, or in full) and no "
            "system_prompt, or an instruction-tuned model, or give its tokenizer a chat_template"
        )


def num_tokens(prompt: Prompt, tokenizer: Any, chat_template_kwargs: Mapping[str, Any]) -> int:
    """Tokens that the model gets for a prompt, as TRL makes them."""
    if isinstance(prompt, str):
        return len(tokenizer(prompt)["input_ids"])
    encoded = tokenizer.apply_chat_template(
        prompt,
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
        **chat_template_kwargs,
    )
    return len(encoded["input_ids"])
