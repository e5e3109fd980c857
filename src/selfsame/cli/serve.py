"""The command `serve`."""

from __future__ import annotations

import argparse
import sys
import webbrowser
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from selfsame.cli.parsing import add_base, make_parser, natural
from selfsame.errors import ConfigError


def run(arguments: Sequence[str]) -> None:
    """Serve models to clients of the OpenAI API, and a page to people, until Ctrl-C.

    Raises:
        SelfsameError: a model, card, address or option that cannot be used.
    """
    options = _options(arguments)
    if missing := [name for name in ("fastapi", "uvicorn", "prometheus_client") if find_spec(name) is None]:
        raise ConfigError(f"selfsame serve needs {' and '.join(missing)}: pip install 'selfsame-chat[web]'")
    from selfsame.serve.server import LOCAL_NAMES, TOKEN_VARIABLE, address_of, bind, is_local, serve, token_for

    token, is_new = token_for(options.host)
    bound = bind(options.host, options.port)  # an address that cannot be had is reported before anything is loaded
    print(
        f"loading {', '.join(options.models)} ...", file=sys.stderr, flush=True
    )  # to import torch alone takes seconds
    from selfsame.serve.api import make_app
    from selfsame.serve.desk import Limits
    from selfsame.serve.gate import UPLOADS
    from selfsame.serve.hub import load_hub

    hub = load_hub(options.models, options.characters, options.base, options.max_tokens)
    limits = Limits(options.max_chats, options.max_waiting, options.max_seconds, options.max_body)
    hosts = (*LOCAL_NAMES, options.host.lower()) if is_local(options.host) else ()
    has_page, address = options.page and find_spec("gradio") is not None, address_of(bound)
    app = make_app(hub, limits, token, hosts, UPLOADS if has_page else {})
    lines, page = [f"serving at {address} (Ctrl-C ends)"], f"{address.removesuffix('/v1')}/"
    if has_page:
        from selfsame.page.app import Places, add_page

        places = Places(Path(options.labels), Path(options.runs), tuple(options.characters))
        add_page(app, hub, limits, places, token)
        page += f"?token={token}" if is_new else ""
        lines.append(f"page: {page}")
    elif options.page:
        lines.append("no page without gradio: pip install 'selfsame-chat[web]', or give --no-page")
    if is_new:
        lines.append(f"token, shown once: {token}  (set {TOKEN_VARIABLE} to choose it)")
    lines += [f"  {name}" for name in hub.voices]

    def ready() -> None:
        print("\n".join(lines), flush=True)
        if has_page and options.open:
            webbrowser.open(page)

    serve(app, bound, ready)


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    options = options_parser().parse_args(arguments)
    for name, least in (("max-chats", 1), ("max-seconds", 1), ("max-body", 1024), ("max-tokens", 1)):
        value = getattr(options, name.replace("-", "_"))
        if value is not None and value < least:
            raise ConfigError(f"--{name} is {value}: give {least} or more")
    if options.port > 65535:
        raise ConfigError(f"--port is {options.port}: give 1 to 65535, or 0 for a free one")
    return options


def options_parser() -> argparse.ArgumentParser:
    """Make the parser of the command."""
    parser = make_parser(
        "serve",
        "Serve models to clients of the OpenAI API, and a page to chat, label and look at runs: every finished system of a"
        " run, alone and as each character."
        " Only this machine can call it, unless --host says otherwise; then a token is needed, which is printed once.",
    )
    parser.add_argument(
        "models",
        nargs="+",
        metavar="RUN_OR_MODEL",
        help="run directory, selfsame-135m (the run in the package), adapter folder, model folder, GGUF file or hub id",
    )
    parser.add_argument(
        "--characters", nargs="+", default=[], metavar="CARD", help="character cards, or folders with cards"
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1)")
    parser.add_argument("--port", type=natural, default=8000, help="port; 0 takes a free one (default: 8000)")
    parser.add_argument("--no-page", dest="page", action="store_false", help="serve the API alone")
    parser.add_argument("--open", action="store_true", help="open the page in a browser")
    parser.add_argument(
        "--labels", default="labels.sqlite", metavar="FILE", help="where the page keeps labels (default: labels.sqlite)"
    )
    parser.add_argument("--runs", default="runs", metavar="FOLDER", help="runs that the page shows (default: runs)")
    parser.add_argument("--max-chats", type=natural, default=16, help="replies under way at once (default: 16)")
    parser.add_argument(
        "--max-waiting", type=natural, default=64, help="requests that may wait for a place (default: 64)"
    )
    parser.add_argument(
        "--max-tokens", type=natural, help="longest reply in tokens that a request gets (default: half of the context)"
    )
    parser.add_argument(
        "--max-seconds", type=natural, default=120, help="time of a request; its reply is then cut (default: 120)"
    )
    parser.add_argument("--max-body", type=natural, default=2**20, help="bytes of a request (default: 1048576)")
    add_base(parser)
    return parser
