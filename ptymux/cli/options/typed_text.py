"""Where the options of a command end and the text begins that it types into a PTY."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import click

from ptymux.core.key_names import is_key_word

__all__ = ["TypingCommand", "split_words"]

# What is typed behind the text may also stand there.
_FLAGS: Final = ("--enter", "--stdin")
_KEY: Final = "--key"


class TypingCommand(click.Command):
    """A command `PTY [TEXT]...` whose options end where TEXT begins, or behind `--`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse what was typed; what it has as text reaches the command as it is."""
        takes_value = {
            name
            for param in self.get_params(ctx)
            if isinstance(param, click.Option) and not param.is_flag
            for name in param.opts
        }
        options, words = split_words(args, takes_value)
        try:
            return super().parse_args(ctx, [*options, *(["--", *words] if words else [])])
        except click.NoSuchOption as error:
            if len(words) != 1 or error.possibilities:
                raise
            told = f"no option {error.option_name!r}; text that begins so goes behind `--`"
            raise click.UsageError(told, ctx) from None


def split_words(args: Sequence[str], takes_value: set[str]) -> tuple[list[str], list[str]]:
    """Return the options, and the PTY with the words of the text.

    Options stand before the text. Behind it may be what is typed after it: stdin, Enter and keys
    that have a name, as in `make --enter`; but `sort --key 2` is text, as is all behind a `--`.

    Raises:
        click.UsageError: an option is without its value.
    """
    options: list[str] = []
    words: list[str] = []
    rest = list(args)
    while rest:
        word = rest.pop(0)
        if word == "--":
            return options, [*words, *rest]
        if len(word) < 2 or word[0] != "-":
            words.append(word)
            if len(words) == 2:
                text, keys = _split_keys([word, *rest])
                return [*options, *keys], [words[0], *text]
            continue
        options.append(word)
        if word in takes_value:
            if not rest:
                raise click.BadOptionUsage(word, f"option {word!r} needs a value")
            options.append(rest.pop(0))
    return options, words


def _split_keys(words: list[str]) -> tuple[list[str], list[str]]:
    """Return a text, and the options at its end that say what is typed after it."""
    end = len(words)
    while end > 1:
        last = words[end - 1]
        if last in _FLAGS or (last.startswith(f"{_KEY}=") and is_key_word(last[len(_KEY) + 1 :])):
            end -= 1
        elif end > 2 and words[end - 2] == _KEY and is_key_word(last):
            end -= 2
        else:
            break
    return words[:end], words[end:]
