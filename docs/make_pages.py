"""Makes the pictures of the pages, from a run on a lab whose last two workers have faults.

    python docs/make_pages.py docs

writes report.webp and web.webp there. It wants root, Chromium, and for their looks fonts-inter and
fonts-jetbrains-mono.
"""

from __future__ import annotations

import base64
import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from playwright.sync_api import Page, expect, sync_playwright

from provisioner.lab import Lab, artifacts_dir, lab_down, lab_up
from provisioner.lab.artifacts import build_standins

NAME, WORKERS = "pages", 6
REPOSITORY = Path(__file__).parents[1]
PROGRAM = str(Path(sys.executable).with_name("b9prov"))
WIDTH, HEIGHT, SHARPNESS = 1120, 900, 2
# Chromium takes no pictures in WebP, but its pages do.
TO_WEBP = """async (png) => {
  const image = new Image();
  image.src = `data:image/png;base64,${png}`;
  await image.decode();
  const canvas = new OffscreenCanvas(image.width, image.height);
  canvas.getContext("2d").drawImage(image, 0, 0);
  const blob = await canvas.convertToBlob({ type: "image/webp", quality: 0.85 });
  const reader = new FileReader();
  const read = new Promise((done) => { reader.onload = done; });
  reader.readAsDataURL(blob);
  await read;
  return reader.result.split(",")[1];
}"""
NO_SPACE = """\
[Service]
ExecStartPre=sh -c 'echo "mkdir /var/lib/rancher: no space left on device" >&2; exit 1'
"""


@contextlib.contextmanager
def lab() -> Iterator[Lab]:
    """Its hosts, of which w5 can't start k3s, and w6 takes no logins."""
    lab_down(NAME)
    build_standins(artifacts_dir())
    lab = lab_up(NAME, WORKERS, progress=print)
    try:
        fault = lab.host("w5").path("/etc/systemd/system/k3s.service.d/fault.conf")
        fault.parent.mkdir(parents=True)
        fault.write_text(NO_SPACE)
        lab.host("w6").exec(["systemctl", "stop", "ssh.socket", "ssh"])
        yield lab
    finally:
        lab_down(NAME)


@contextlib.contextmanager
def browser() -> Iterator[Page]:
    """A page of Chromium."""
    alone = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=alone)
        size = {"width": WIDTH, "height": HEIGHT}
        context = chromium.new_context(viewport=size, device_scale_factor=SHARPNESS)
        yield context.new_page()
        chromium.close()


def take(page: Page, target: Path) -> None:
    """The whole page, as a small file."""
    png = base64.b64encode(page.screenshot(full_page=True)).decode()
    blank = page.context.new_page()
    target.write_bytes(base64.b64decode(blank.evaluate(TO_WEBP, png)))
    blank.close()


def picture_report(page: Page, target: Path) -> None:
    """Of a run of `up`, from its headline to the hosts' lanes."""
    subprocess.run([PROGRAM, "up", "--report", "report.html"], stdout=subprocess.DEVNULL)
    report = Path("report.html")
    shown = report.read_text("utf-8").replace(f"{REPOSITORY}/", "")
    report.write_text(shown.replace(str(Path.home()), "~"), "utf-8")
    page.goto(report.absolute().as_uri())
    take(page, target)


def picture_web(page: Page, target: Path) -> None:
    """Of all workers, once each was asked."""
    with subprocess.Popen([PROGRAM, "web"], stdout=subprocess.PIPE, text=True) as running:
        try:
            assert running.stdout
            page.goto(running.stdout.readline().strip())
            expect(page.get_by_text("calling")).to_have_count(0, timeout=30_000)
            page.set_viewport_size({"width": WIDTH, "height": 200})
            page.wait_for_timeout(2000)  # what is new fades
            take(page, target)
        finally:
            running.terminate()


def main(folder: str) -> None:
    """Write the pictures into `folder`."""
    target = Path(folder).absolute()
    with lab() as hosts, browser() as page, tempfile.TemporaryDirectory() as place:
        os.chdir(place)
        inventory = hosts.inventory_path.read_text().replace(
            "!file admin_token", f"!file {hosts.admin_token_path}"
        )
        Path("inventory.yaml").write_text(inventory)
        picture_report(page, target / "report.webp")
        picture_web(page, target / "web.webp")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: make_pages.py FOLDER")
    main(sys.argv[1])
