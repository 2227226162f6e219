"""What all tests share."""

import os
import shutil

import pytest
from hypothesis import HealthCheck, settings

# Compiled kernels round otherwise, and may lie in a user's cache: there are none unless asked for.
os.environ.setdefault("TRACER_NATIVE", "0")

# How long an example takes says how busy the machine is, and nothing about the example.
settings.register_profile(
    "busy machines", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("busy machines")


@pytest.fixture(scope="session")
def browser():
    """Headless Chromium, for the tests of pages; they are skipped where it is not installed."""
    webdriver = pytest.importorskip("selenium.webdriver")
    names = ("chromium", "google-chrome", "chrome")
    program = next(filter(None, map(shutil.which, names)), None)
    driver = shutil.which("chromedriver")
    if not (program and driver):
        pytest.skip("Chromium and chromedriver are not installed")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1200,800"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(driver))
    yield driver
    driver.quit()
