"""``srbench data`` as a user meets it: real processes against a local repository, killed and interrupted."""

import os
import random
import re
import signal
import subprocess
import sys
import time

import pytest

from srbench.datasets.sources.nffa.releases import CLASSES, CSM_SR, V2_RECORD

pytestmark = pytest.mark.slow

OLD, SHORT = CSM_SR.record.ids[0], V2_RECORD.record.ids[0]
BUCKET = CSM_SR.record.bucket
DICE = random.Random(21)
TARS = {f"{name}.tar": DICE.randbytes(DICE.randrange(50_000, 150_000)) for name in CLASSES}
SIZE = sum(map(len, TARS.values()))


@pytest.fixture
def command(tmp_path, repository):
    """``command("data", ...)``: a running ``srbench`` with a home of its own."""
    environment = {
        **os.environ,
        "SRBENCH_HOME": str(tmp_path / "home"),
        "SRBENCH_B2SHARE_URL": repository.url,
        "OMP_NUM_THREADS": "1",
    }
    running = []

    def start(*arguments):
        line = [sys.executable, "-c", "from srbench.cli import main; main()", *arguments]
        process = subprocess.Popen(
            line, env=environment, cwd=tmp_path, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        running.append(process)
        return process

    yield start
    for process in running:
        process.kill()
        process.wait()


def finished(process):
    """Exit code, stdout and stderr."""
    out, err = process.communicate(timeout=60)
    assert "Traceback" not in err, err
    return process.returncode, out, err


@pytest.fixture
def archives(tmp_path):
    """``archives("*.tar")``: what is in the folder of the downloads."""
    folder = tmp_path / "home" / "data" / "sem" / "archives"
    return lambda pattern="*.tar": {path.name: path.read_bytes() for path in folder.glob(pattern)}


def wait_for(condition):
    for _ in range(600):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError("waited in vain")


def test_the_licence_is_shown_before_anything_is_asked_for(command, repository):
    repository.old(OLD, BUCKET, TARS)
    repository.server.script = {f"/api/records/{OLD}": ["gate"]}
    process = command("data", "fetch", "sem", "--no-prepare")
    said = [process.stderr.readline() for _ in range(3)]
    wait_for(lambda: repository.asked())
    assert repository.asked() == [f"/api/records/{OLD}"]  # and it got no answer yet
    assert said[0] == "NFFA-EUROPE SEM. Licence: CC-BY-4.0. Download: 13.6 GB.\n"
    assert "names the authors" in said[1] and "10.1038/sdata.2018.172" in said[2]
    repository.server.gate.set()
    code, out, err = finished(process)
    assert code == 0 and "Next: srbench data prepare sem" in out
    assert f'From record {OLD}, "NFFA-EUROPE - SEM Dataset"' in err
    assert f"/{SIZE / 1e3:.1f} kB (100%)" in err and "files: 10/10" in err


def test_a_wrong_checksum_is_named(command, repository, archives):
    repository.old(OLD, BUCKET, TARS)
    repository.server.content[f"/api/files/{BUCKET}/Tips.tar"] = bytes(len(TARS["Tips.tar"]))
    code, _, err = finished(command("data", "fetch", "sem", "--no-prepare"))
    assert code == 1 and re.search(r"Error: 1 of 10 files(.|\n)*Tips.tar: wrong content: md5 ", err)
    assert set(archives()) == set(TARS) - {"Tips.tar"}


def test_a_record_that_is_not_what_it_should_be(command, repository, archives):
    repository.new(SHORT, TARS)  # not the published md5
    code, _, err = finished(command("data", "fetch", "sem_100"))
    assert code == 1 and "The record has changed" in err and not archives()


def test_ctrl_c_says_what_is_kept_and_what_to_type(command, repository, archives):
    repository.old(OLD, BUCKET, TARS)
    repository.server.rate = 5_000
    process = command("data", "fetch", "sem", "--no-prepare")
    wait_for(lambda: sum(repository.server.sent.values()) > 60_000)
    process.send_signal(signal.SIGINT)
    code, _, err = finished(process)
    assert code == 130
    kept = re.search(r"What was done is kept \(([\d.]+) kB on disk\). To go on, type: (.*)\n", err)
    assert kept and float(kept[1]) > 30 and kept[2] == "srbench data fetch sem --no-prepare", err
    repository.server.rate = None
    assert finished(command("data", "fetch", "sem", "--no-prepare"))[0] == 0
    assert archives() == TARS


def test_options_where_they_mean_nothing(command):
    code, _, err = finished(command("data", "fetch", "sem_open", "--record", "zja8y-53j14"))
    assert code == 1 and "sem_open is not fetched from a record" in err
    code, _, err = finished(command("data", "prepare", "sem_open"))
    assert code == 1 and "sem_open needs no preparation" in err
    code, _, err = finished(command("data", "fetch", "sem_hierarchical"))
    assert code == 1 and "--record ID" in err


def start_and_wait_for_bytes(command, server, arguments):
    before = sum(server.sent.values())
    process = command(*arguments)
    wait_for(lambda: sum(server.sent.values()) > before + 2000 or process.poll() is not None)
    return process


@pytest.mark.parametrize("listed", [True, False])
def test_killed_again_and_again_it_still_ends_with_the_right_bytes(command, repository, archives, listed):
    """SIGKILL at seeded random moments, with and without checksums to rely on."""
    if listed:
        repository.old(OLD, BUCKET, TARS)
    else:
        repository.new("abcd1-23456", TARS, checksums=False)
    arguments = ("data", "fetch", "sem", "--no-prepare", *(() if listed else ("--record", "abcd1-23456")))
    dice = random.Random(8)
    repository.server.rate = 25_000
    for _ in range(5):
        process = start_and_wait_for_bytes(command, repository.server, arguments)
        time.sleep(dice.uniform(0, 0.6))
        process.kill()
        process.wait()
    assert archives("*.part")
    repository.server.rate = None
    assert finished(command(*arguments))[0] == 0
    assert archives() == TARS
    # what a killed process had not written yet is asked for again, no more: one socket buffer a file and kill
    assert sum(repository.server.sent.values()) < SIZE * 1.5


@pytest.fixture(scope="module")
def real_tars(tmp_path_factory):
    """Ten classes in the true layout."""
    from helpers import nffa_archives as builder

    folder = tmp_path_factory.mktemp("tars")
    builder.build(folder, dict.fromkeys(CLASSES, 4), size=(256, 192))
    return folder


def test_one_command_from_nothing_to_training(command, repository, real_tars, tmp_path):
    repository.old(OLD, BUCKET, {path.name: path.read_bytes() for path in real_tars.glob("*.tar")})
    code, out, err = finished(command("data", "fetch", "sem", "--workers", "1"))
    assert code == 0, err
    assert re.search(r"^sem: \d\d micrographs in ", out, re.M) and "Next: srbench train csm_sr" in out
    assert re.search(r"The tars in .*archives may be deleted now; that frees", err)
    assert finished(command("data", "verify", "sem"))[0] == 0
    shard = next((tmp_path / "home" / "data" / "sem").glob("shard-*.bin"))
    data = bytearray(shard.read_bytes())
    data[100] ^= 1
    shard.write_bytes(bytes(data))
    code, out, _ = finished(command("data", "verify", "sem"))
    assert code == 1 and "changed on disk" in out and out.endswith("1 bad\n")


def test_import_then_prepare_in_two_steps(command, real_tars):
    code, out, err = finished(command("data", "import", "sem", "--from", str(real_tars), "--no-prepare"))
    assert code == 0 and "not prepared yet" in out and "These are: of no release" in err
    assert "Type: srbench data prepare sem" in finished(command("datasets", "show", "sem"))[1]
    code, out, err = finished(command("data", "prepare", "sem", "--workers", "1"))
    assert code == 0 and "micrographs in" in out and "they are where you keep them" in err
    code, out, _ = finished(command("datasets", "list"))
    assert re.search(r"sem +real +ready +\d\d ", out)
