"""Where each vendor's answers say their model and their tokens."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.metering.tally import Tally, number, table


class OpenAI(Tally):
    """Chat, legacy completions, embeddings and responses; what is compatible with them."""

    said_in = ("choices", "output", "delta")

    def _read(self, element: dict[str, object]) -> None:
        answer = table(element, "response") or element
        self._named(answer.get("model"))
        usage = table(answer, "usage")
        prompt = number(usage, "prompt_tokens", "input_tokens")
        completion = number(usage, "completion_tokens", "output_tokens")
        if prompt is not None:
            self.input = prompt
            if completion is None and "choices" not in answer and "output" not in answer:
                completion = 0  # embeddings under another path
        self._counted(completion)


class Anthropic(Tally):
    """Messages. What was written to or read from the cache is not inside ``input_tokens``."""

    said_in = ("content", "content_block", "delta")
    _INPUT = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")

    def _read(self, element: dict[str, object]) -> None:
        answer = table(element, "message") or element
        self._named(answer.get("model"))
        usage = table(answer, "usage")
        self._note(usage, *self._INPUT)
        if "input_tokens" in self._latest:
            self.input = self._sum(*self._INPUT)
        self._counted(number(usage, "output_tokens"))


class Gemini(Tally):
    """generateContent and streamGenerateContent. A count of zero is left out there."""

    said_in = ("candidates",)
    _INPUT = ("promptTokenCount", "toolUsePromptTokenCount")
    _OUTPUT = ("candidatesTokenCount", "thoughtsTokenCount")

    def _read(self, element: dict[str, object]) -> None:
        self._named(element.get("modelVersion"))
        usage = table(element, "usageMetadata")
        self._note(usage, *self._INPUT, *self._OUTPUT)
        if "promptTokenCount" in self._latest:
            self.input = self._sum(*self._INPUT)
        says = any(number(usage, name) is not None for name in self._OUTPUT)
        if says or (usage and not self.uncounted):
            self._counted(self._sum(*self._OUTPUT))


TALLIES: Mapping[str, type[Tally]] = {"openai": OpenAI, "anthropic": Anthropic, "gemini": Gemini}
