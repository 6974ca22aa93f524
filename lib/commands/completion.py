"""`ampzero completion SHELL`: the script that makes Tab complete ampzero's command lines."""

from __future__ import annotations

import click


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def command(context: click.Context, shell: str) -> None:
    """Print the script for SHELL that completes commands, options, instances and services with Tab.

    \b
    Examples (each once; then open a new shell):
      ampzero completion bash > ~/.local/share/bash-completion/completions/ampzero
      ampzero completion zsh > ~/.zfunc/_ampzero      # with: fpath=(~/.zfunc $fpath), before compinit
      ampzero completion fish > ~/.config/fish/completions/ampzero.fish
      eval "$(ampzero completion bash)"               # only for this shell
    """
    from click.shell_completion import BashComplete, FishComplete, ZshComplete

    import lib.console as console

    kind = {"bash": BashComplete, "zsh": ZshComplete, "fish": FishComplete}[shell]
    root = context.find_root()
    name = root.info_name or "ampzero"
    # The variable is named as click names the one that it looks for.
    console.out(kind(root.command, {}, name, f"_{name}_COMPLETE".upper()).source().rstrip("\n"))
