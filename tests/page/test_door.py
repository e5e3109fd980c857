"""Who comes in: the token once as a cookie, requests of other pages, paths of the API, and what a browser may load."""

from __future__ import annotations

import re

import pytest
from paged import NASTY

pytest.importorskip("gradio", reason="the page needs gradio: pip install 'selfsame-chat[web]'")
from served import asked, client_of, error_of, tiny_hub

from selfsame.page.app import Places, add_page
from selfsame.page.door import is_api
from selfsame.serve.api import make_app
from selfsame.serve.desk import Limits
from selfsame.serve.gate import UPLOADS

TOKEN = "sixteen-letters-and-more"
UPLOAD = "/gradio_api/upload"


@pytest.fixture(scope="module")
def hub(tiny_models):
    return tiny_hub(tiny_models())


def app_of(hub, folder, token=""):
    limits = Limits(most_bytes=2000)
    app = make_app(hub, limits, token, larger=UPLOADS)
    add_page(app, hub, limits, Places(folder / "labels.sqlite", folder / "runs"), token)
    return app


@pytest.fixture(scope="module")
def free(hub, tmp_path_factory):
    with client_of(app_of(hub, tmp_path_factory.mktemp("free"))) as client:
        yield client


@pytest.fixture(scope="module")
def locked(hub, tmp_path_factory):
    with client_of(app_of(hub, tmp_path_factory.mktemp("locked"), TOKEN)) as client:
        client.follow_redirects = False
        yield client


@pytest.fixture(autouse=True)
def nobody_is_known(locked):
    locked.cookies.clear()


def test_the_token_opens_the_page_once_and_for_all(locked):
    for path in ("/", "/config", "/gradio_api/info", "/report/x", "/theme.css"):
        assert locked.get(path).status_code == 401
    assert "token" in locked.get("/").text and "gradio_config" not in locked.get("/").text
    answer = locked.get("/", params={"token": TOKEN})
    assert answer.status_code == 303 and answer.headers["location"] == "/"
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie and "SameSite=strict" in cookie and TOKEN not in cookie
    assert locked.get("/").status_code == 200 and locked.get("/config").status_code == 200
    locked.cookies.clear()
    assert locked.post("/enter", data={"token": TOKEN}).status_code == 303
    assert locked.get("/config").status_code == 200


def test_what_is_not_the_token_opens_nothing(locked):
    for given in ("", "wrong", TOKEN[:-1], f"{TOKEN}x", "ö" * 20, NASTY):
        answer = locked.post("/enter", data={"token": given})
        assert (
            answer.status_code == 401 and "set-cookie" not in answer.headers and "<script>document" not in answer.text
        )
        assert locked.get("/", params={"token": given}).status_code == 401
    for cookie in (TOKEN, "0" * 64, '"; x=y', "ö"):
        assert locked.get("/config", headers={"cookie": f"selfsame={cookie}".encode()}).status_code == 401
    assert locked.post("/enter", content=b"token=" + b"x" * 10**6).status_code in (401, 413)
    assert locked.post("/gradio_api/queue/join", json={}).status_code == 401
    assert locked.post(UPLOAD, files={"files": b"x"}).status_code == 401


def test_the_cookie_opens_no_api_and_the_key_opens_all(locked):
    locked.get("/", params={"token": TOKEN})
    assert error_of(locked.get("/v1/models"))["code"] == "invalid_api_key"
    key = {"Authorization": f"Bearer {TOKEN}"}
    locked.cookies.clear()
    assert locked.get("/v1/models", headers=key).status_code == locked.get("/", headers=key).status_code == 200


def test_another_page_may_not_write(free):
    for origin in ("http://evil.example", "null", "http://127.0.0.1.evil.example", "http://127.0.0.1:1"):
        for path in (UPLOAD, "/gradio_api/queue/join", "/enter"):
            assert free.post(path, headers={"Origin": origin}).status_code == 403
    assert free.post(UPLOAD, headers={"Origin": "http://127.0.0.1"}, files={"files": b"x"}).status_code == 200


def test_the_api_answers_as_without_a_page(free):
    assert free.post("/v1/chat/completions", json=asked()).status_code == 200
    assert free.get("/health").json() == {"status": "ok"} and free.get("/metrics").status_code == 200
    for answer in (free.get("/v1/nothing"), free.get("/v1/chat/completions")):
        assert answer.status_code in (404, 405) and error_of(answer)
    paths = {"/v1": True, "/v1/x": True, "/metrics": True, "/v10": False, "/": False, "/config": False}
    assert {path: is_api(path) for path in paths} == paths


def test_only_uploads_may_be_large(free):
    assert error_of(free.post("/v1/chat/completions", content=b"x" * 3000))["type"] == "invalid_request_error"
    assert free.post("/gradio_api/queue/join", content=b"x" * 3000).status_code == 413
    assert free.post(UPLOAD, files={"files": b"x" * 3000}).status_code == 200
    assert free.post(UPLOAD, content=b"", headers={"content-length": str(10**9)}).status_code == 413


def test_nothing_is_loaded_from_elsewhere(free):
    page = free.get("/")
    policy = page.headers["content-security-policy"]
    assert "default-src 'self'" in policy and "http" not in policy and "*" not in policy
    assert page.headers["x-content-type-options"] == "nosniff"
    assert re.findall(r"<(?:script|link|img)[^>]+(?:src|href)=\"https?://", page.text) == []
    assert free.get("/gradio_api/info").json().get("named_endpoints", {}) == {}


def test_no_file_of_the_machine_is_served(free, tmp_path):
    (tmp_path / "secret").write_text("x")
    for path in (tmp_path / "secret", "/etc/passwd", "pyproject.toml"):
        assert free.get(f"/gradio_api/file={path}").status_code in (403, 404)
