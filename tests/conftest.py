from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings
from slow_cases import SLOW

if TYPE_CHECKING:
    from playwright.sync_api import Browser, ConsoleMessage, Page, Request


# The same cases on every machine and in every run, and none fails by the clock; `make test-full` explores new ones.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.register_profile("exploring", deadline=None, print_blob=True)
settings.load_profile("repeatable")

QUICK = (
    "charts/test_export.py",
    "charts/test_table.py",
    "cli/test_convert_marian.py",
    "cli/test_info.py",
    "cli/test_tasks.py",
    "data/test_date_formats.py",
    "data/test_downloads.py",
    "data/test_language_modeling.py",
    "data/test_marian_tokenizers.py",
    "data/test_sentence_tokenizers.py",
    "generation/test_generate.py",
    "inspection/test_subjects.py",
    "models/test_decoder.py",
    "models/test_interop.py",
    "runs/test_tensors.py",
    "scaling/test_power_law.py",
    "scoring/test_translations.py",
    "studies/test_adding_seeds.py",
    "studies/test_ray_cluster.py",
    "test_config.py",
    "test_locked_versions.py",
    "training/test_telemetry.py",
    "tasks/test_pairs.py",
)
"""What `make test-quick` runs: each dependency is used by some of them as the product uses it."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the quick part; and no test is slow without a reason."""
    here = Path(__file__).parent
    items.sort(
        key=lambda item: not item.path.name.startswith("test_testing")
    )  # the longest file first: none waits for it
    reasons = {f"tests/{name}": reason for reason, names in SLOW.items() for name in names}
    for item in items:
        for name, reason in reasons.items():
            if item.nodeid.startswith(name):
                item.add_marker(pytest.mark.slow(reason=reason))
        if item.path.is_relative_to(here) and item.path.relative_to(here).as_posix() in QUICK:
            item.add_marker("quick")
        slow = item.get_closest_marker("slow")
        if slow is not None and not slow.kwargs.get("reason"):
            raise pytest.UsageError(f"{item.nodeid} is slow; say why: @pytest.mark.slow(reason=...)")


@pytest.fixture(scope="session", autouse=True)
def own_state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A state folder of the tests' own: what they trust is not trusted by the user's commands, nor the reverse."""
    folder = tmp_path_factory.mktemp("state")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GLASSFORMER_STATE", str(folder))
        yield folder


@pytest.fixture(scope="session")
def glassformer_data() -> Path:
    """The folder of real data that some tests need: $GLASSFORMER_DATA. Under CI it must be there."""
    folder = os.environ.get("GLASSFORMER_DATA")
    if folder and Path(folder).is_dir():
        return Path(folder)
    reason = f"GLASSFORMER_DATA is {folder!r}; it must name the folder with tinyshakespeare/ and gpt2-bpe/"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """A headless Chromium, the system's own. Under CI it must be there."""
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        reason = "no chromium, chromium-browser or google-chrome on PATH; install one to test the page"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])  # CI runs as root
        yield browser
        browser.close()


class Tabs:
    """Tabs of the browser that are used again: a new one costs more than most of the pages shown in it."""

    def __init__(self, browser: Browser) -> None:
        self._browser = browser
        self._free: dict[str, list[Page]] = {}

    @contextmanager
    def quiet(self) -> Iterator[Callable[..., Page]]:
        """``opened(path, **context_options)``: an HTML file, with the network cut, once it has started.

        At the end no page may have asked for anything but its own file, written an error or a warning to the console,
        or thrown.
        """
        complaints: list[str] = []
        used: list[tuple[str, Page, dict[str, Callable[..., None]]]] = []

        def opened(path: Path, **options: Any) -> Page:
            chosen = {"offline": True, "viewport": {"width": 1280, "height": 900}, **options}
            tab = self._tab(chosen)
            address = path.resolve().as_uri()

            def request(asked: Request) -> None:
                # these never leave the page: its own data, and frames written inside it
                if asked.url.split("#")[0] != address and not asked.url.startswith(("data:", "blob:", "about:srcdoc")):
                    complaints.append(f"asked for {asked.url}")

            def console(message: ConsoleMessage) -> None:
                if message.type in {"error", "warning"}:
                    complaints.append(f"console {message.type}: {message.text}")

            def threw(error: Exception) -> None:
                complaints.append(f"threw {error}")

            listeners: dict[str, Callable[..., None]] = {"request": request, "console": console, "pageerror": threw}
            for event, listener in listeners.items():
                tab.on(event, listener)  # type: ignore[call-overload]
            used.append((str(chosen), tab, listeners))
            tab.goto(address)
            tab.wait_for_selector("html[data-ready=true]", state="attached")
            return tab

        yield opened
        for options, tab, listeners in used:
            tab.goto("about:blank")
            for event, listener in listeners.items():
                tab.remove_listener(event, listener)
            self._free.setdefault(options, []).append(tab)
        assert complaints == []

    def _tab(self, options: dict[str, Any]) -> Page:
        """A tab as if it were new: of these options, of their size, the mouse in the corner."""
        free = self._free.get(str(options))
        if free:
            tab = free.pop()
            tab.set_viewport_size(options["viewport"])
            tab.mouse.move(0, 0)
            return tab
        tab = self._browser.new_context(**options).new_page()
        tab.set_default_timeout(10_000)
        return tab


@pytest.fixture(scope="session")
def tabs(chromium: Browser) -> Tabs:
    return Tabs(chromium)


@pytest.fixture
def open_page(tabs: Tabs) -> Iterator[Callable[..., Page]]:
    """``open_page(path, **context_options)``: a page of the test's own; see :meth:`Tabs.quiet`."""
    with tabs.quiet() as opened:
        yield opened


@pytest.fixture(scope="module")
def open_shared(tabs: Tabs) -> Iterator[Callable[..., Page]]:
    """The same for tests of one file that share a page, each leaving it as the others can use it."""
    with tabs.quiet() as opened:
        shown: dict[str, Page] = {}

        def shared(path: Path, **options: Any) -> Page:
            key = f"{path} {options}"
            if key not in shown:
                shown[key] = opened(path, **options)
            return shown[key]

        yield shared
