"""A headless Chromium for the pages; its tests are left out where there is none.

`pytest -n0 tests/browser`, or `.ci/run browser`; they are no part of the suite, which needs no
browser. With CI_BROWSER=1 they fail where there is none.
"""

import os
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = os.environ.get("MUSCLEJAX_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), "")
SOFTWARE = ("--use-angle=swiftshader", "--enable-unsafe-swiftshader")
"""WebGL without a graphics card."""


def playwright() -> Any:
    """Return Playwright's synchronous interface."""
    missing = "" if CHROMIUM else "no Chromium; name one in $MUSCLEJAX_CHROMIUM"
    try:
        from playwright import sync_api
    except ImportError:
        missing = "no Playwright: pip install playwright"
    if missing:
        (pytest.fail if os.environ.get("CI_BROWSER") == "1" else pytest.skip)(missing)
    return sync_api


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Chromium, started once."""
    with playwright().sync_playwright() as api:
        browser = api.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", *SOFTWARE])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def browser_without_webgl(browser: Any) -> Iterator[Any]:
    flags = ["--no-sandbox", "--disable-gpu", "--disable-webgl", "--disable-webgl2"]
    other = browser.browser_type.launch(executable_path=CHROMIUM, args=flags)
    yield other
    other.close()


def watched_page(context: Any, seen: list[str]) -> Any:
    """Return a new page that appends to a list its errors, and what it asks for outside."""
    page = context.new_page()
    page.on("console", lambda m: seen.append(m.text) if m.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: seen.append(str(error)))
    own = ("file:", "data:", "blob:")
    page.on("request", lambda r: None if r.url.startswith(own) else seen.append(r.url))
    return page


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """An empty page; the test fails if one in it prints an error or asks for anything outside."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, accept_downloads=True)
    seen: list[str] = []
    yield watched_page(context, seen)
    context.close()
    assert not seen
