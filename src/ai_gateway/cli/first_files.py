"""What `init` writes: a gateway.toml and .env to begin with."""

import os
from pathlib import Path

import typer

from ai_gateway.cli.problems import print_problems
from ai_gateway.config.constants import CONFIG_FILE, DOTENV_FILE
from ai_gateway.config.fields import FILE_ONLY, SECRET
from ai_gateway.config.settings import Settings, marked
from ai_gateway.providers.config.plugins import known_rows

_TABLES = """\
# --- Tables ---

# A server of your own: answers at /lab/v1, and as lab/MODEL at /v1.
# [providers.lab]
# base_url = "http://127.0.0.1:8000/v1"
# api_key_env = "LAB_API_KEY"

# Other names of models at /v1; a star stands for any text.
# [aliases]
# small = "lab/llama-3.1-8b"

# A model with several targets: the next one is called when one fails.
# [routes."safe"]
# targets = ["lab/llama-3.1-8b", "openai/gpt-4o-mini"]

# A key of a caller, by the variable that contains it, with limits of its own.
# [keys.alice]
# key_env = "ALICE_KEY"
# requests_per_minute = 60

# What a model costs, in USD for a million tokens.
# [prices."lab/llama-3.1-8b"]
# input = 0.1
# output = 0.2
"""


def write_first_files(*, force: bool) -> None:
    """Write both into the working directory. Raises typer.Exit if they are there, or cannot be written."""
    contents = {Path(CONFIG_FILE): _configuration(), Path(DOTENV_FILE): _environment()}
    present = [path for path in contents if path.is_symlink() or path.exists()]
    if present and not force:
        print_problems(f"{path} is there already: --force replaces it" for path in present)
        raise typer.Exit(1)
    for path, content in contents.items():
        try:
            path.unlink(missing_ok=True)
            # Readable by its owner only, since it will contain keys.
            file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(file, "w", encoding="utf-8") as opened:
                opened.write(content)
        except OSError as error:
            print_problems([f"{path}: cannot be written: {error.strerror}"])
            raise typer.Exit(1) from None
    typer.echo("wrote gateway.toml and .env: set a provider's key in .env, then run `ai-gateway check`")


def _configuration() -> str:
    left_out = {*marked(FILE_ONLY), *marked(SECRET)}
    lines = [
        "# Settings of the gateway: see `ai-gateway docs configuration`. The environment and .env count before them.",
        "# Keys and passwords are better kept in .env.",
        "",
    ]
    for name, field in Settings.model_fields.items():
        if name not in left_out:
            lines += [f"# {field.description}", f"# {name} = {_toml(field.default)}", ""]
    return "\n".join([*lines, _TABLES])


def _toml(value: object) -> str:
    """A default value in TOML."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return f"{value:g}" if isinstance(value, float) else str(value)
    if isinstance(value, tuple):
        return "[" + ", ".join(str(each) if isinstance(each, int) else f'"{each}"' for each in value) + "]"
    return f'"{value}"' if value is not None else "# no default"


def _environment() -> str:
    lines = [
        "# Variables of the gateway: keys and passwords. A variable of the process counts before one of this file.",
        "# Each can be in a file instead: NAME_FILE=/path.",
        "",
    ]
    for name in marked(SECRET):
        lines += [f"# {Settings.model_fields[name].description}", f"# {name.upper()}=", ""]
    lines.append("# Keys of providers; each is configured once its key, or its base URL, is set.")
    for row in known_rows():
        variables = dict.fromkeys(
            filter(None, (row.key_env, *row.url_variables)) if row.key_env else [row.base_url_env]
        )
        lines += [f"# {variable}=" for variable in variables]
    return "\n".join([*lines, ""])
