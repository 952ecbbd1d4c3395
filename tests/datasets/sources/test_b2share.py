"""Records of B2SHARE by whichever interface answers, from a local server that has some of them."""

import hashlib
import json

import pytest

from srbench.datasets.download import Remote, RetryPolicy, download_all
from srbench.datasets.sources.nffa.b2share import (
    B2Share,
    ListedFile,
    Record,
    RecordUnavailable,
    parse_id,
)
from srbench.utils.errors import DatasetError

OLD, SHORT = "19cc2afd23e34b92b36a1dfd0113a89f", "zja8y-53j14"
BUCKET = "5fc88ad5-2f13-483c-8b80-a5862c91dbbb"
FILES = {"Fibres.tar": b"fibres" * 50, "Tips.tar": b"tips" * 80}
QUICK = RetryPolicy(attempts=2, backoff=0.0, timeout=2.0)


@pytest.fixture
def b2share(repository):
    return B2Share(repository.url, QUICK)


def md5(data):
    return hashlib.md5(data).hexdigest()


def record(*ids, bucket=""):
    return Record("A set", ids, bucket)


def fetched(listing, folder):
    download_all([Remote(listing.url(name), folder / name) for name in FILES], retry=QUICK)
    return {name: (folder / name).read_bytes() for name in FILES}


@pytest.mark.slow
def test_the_old_interface(repository, b2share, tmp_path):
    repository.old(OLD, BUCKET, FILES)
    listing = b2share.find(record(OLD), "Fibres.tar")
    assert listing.files == {name: ListedFile(len(data), md5(data)) for name, data in FILES.items()}
    assert listing.url("Tips.tar") == f"{repository.url}/api/files/{BUCKET}/Tips.tar"
    assert fetched(listing, tmp_path) == FILES


@pytest.mark.slow
def test_the_new_interface(repository, b2share, tmp_path):
    repository.new(SHORT, FILES)
    listing = b2share.find(record(SHORT), "Fibres.tar")
    assert listing.url("Tips.tar") == f"{repository.url}/api/records/{SHORT}/files/Tips.tar/content"
    assert fetched(listing, tmp_path) == FILES
    assert repository.asked()[0] == f"/api/records/{SHORT}/files"


@pytest.mark.slow
def test_the_link_of_the_page_where_the_content_address_gives_a_page(repository, b2share, tmp_path):
    """Old software answers every unknown address with its page and success."""
    repository.new(SHORT, FILES, download=True)
    repository.server.script = {f"/api/records/{SHORT}/files/Fibres.tar/content": ["page"] * 9}
    listing = b2share.find(record(SHORT), "Fibres.tar")
    assert listing.url("Tips.tar") == f"{repository.url}/records/{SHORT}/files/Tips.tar?download=1"
    assert fetched(listing, tmp_path) == FILES


@pytest.mark.slow
@pytest.mark.parametrize("answer", [404, 410, "page", 500, 403])
def test_without_a_list_the_files_are_still_found(repository, b2share, tmp_path, answer):
    """No list, but the bucket is known from elsewhere: what is in it has no checksums then."""
    repository.old(OLD, BUCKET, FILES, listed=False)
    repository.server.script = {
        f"/api/records/{OLD}": [answer] * 9,
        f"/api/records/{OLD}/files": [answer] * 9,
    }
    listing = b2share.find(record(OLD, bucket=BUCKET), "Fibres.tar")
    assert listing.files == {} and fetched(listing, tmp_path) == FILES


@pytest.mark.slow
def test_the_other_identifier_is_tried(repository, b2share):
    repository.old(OLD, BUCKET, FILES)
    assert b2share.find(record(SHORT, OLD), "Fibres.tar").files["Tips.tar"].size == 320


@pytest.mark.slow
def test_an_old_identifier_that_leads_to_a_new_record(repository, b2share, tmp_path):
    """After the move the old address redirects, and the record lists its files as a mapping."""
    repository.new(SHORT, FILES, listed=False)
    entries = {
        name: {"key": name, "size": len(data), "checksum": f"md5:{md5(data)}"} for name, data in FILES.items()
    }
    repository.json(f"/api/records/{SHORT}", {"id": SHORT, "files": {"enabled": True, "entries": entries}})
    moved = (301, {"Location": f"{repository.url}/api/records/{SHORT}"})
    repository.server.script = {f"/api/records/{OLD}": [moved]}
    listing = b2share.find(record(OLD), "Fibres.tar")
    assert f"/api/records/{SHORT}/files" in listing.url("Tips.tar")
    assert listing.files["Tips.tar"].md5 == md5(FILES["Tips.tar"]) and fetched(listing, tmp_path) == FILES


def test_what_works_is_asked_for_once(repository, b2share):
    repository.old(OLD, BUCKET, FILES)
    b2share.find(record(OLD), "Fibres.tar")
    assert repository.asked() == [f"/api/records/{OLD}", f"/api/files/{BUCKET}/Fibres.tar"]
    assert repository.server.sent == {
        f"/api/records/{OLD}": len(repository.server.content[f"/api/records/{OLD}"])
    }


def test_links_of_an_answer_are_never_followed(repository, b2share):
    """A list could point anywhere; a mirror must stay the only host."""
    repository.new(SHORT, FILES)
    listing = b2share.find(record(SHORT), "Fibres.tar")
    assert all(listing.url(name).startswith(repository.url) for name in listing.files)
    assert (
        b2share.find(record(SHORT), "Fibres.tar").url("../../x y#z").endswith("/..%2F..%2Fx%20y%23z/content")
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"{", "damaged JSON"),
        (b"[]", "not a list of files"),
        (b"{}", "not a list of files"),
        (b'{"entries": [{"size": 3}]}', "not a list of files"),
        (b'{"entries": [{"key": "Fibres.tar", "size": "many"}]}', "not a list of files"),
        (b'{"entries": [{"key": "Fibres.tar", "checksum": "md5:12"}]}', "checksum 'md5:12' of Fibres.tar"),
        (b'{"entries": []}', "lists no files"),
        (b'{"files": null}', "not a list of files"),
    ],
)
def test_a_damaged_list_is_named(repository, b2share, body, words):
    repository.server.content[f"/api/records/{SHORT}/files"] = body
    with pytest.raises(RecordUnavailable) as caught:
        b2share.find(record(SHORT), "Fibres.tar")
    assert words in str(caught.value) and f"/api/records/{SHORT}/files" in str(caught.value)
    assert "404" in str(caught.value)  # what the other addresses answered


@pytest.mark.slow
def test_a_damaged_list_does_not_stand_in_the_way_of_the_files(repository, b2share, tmp_path):
    repository.new(SHORT, FILES)
    repository.server.content[f"/api/records/{SHORT}/files"] = b"{"
    listing = b2share.find(record(SHORT), "Fibres.tar")
    assert listing.files == {} and fetched(listing, tmp_path) == FILES


def test_a_checksum_of_another_kind_is_no_fault(repository, b2share):
    repository.new(SHORT, FILES, listed=False)
    entries = [{"key": "Fibres.tar", "checksum": "sha256:00", "size": None}]
    repository.json(f"/api/records/{SHORT}/files", {"entries": entries})
    assert b2share.find(record(SHORT), "Fibres.tar").files == {"Fibres.tar": ListedFile()}


def test_a_record_without_the_file_says_what_it_holds(repository, b2share):
    repository.old(OLD, BUCKET, FILES)
    with pytest.raises(RecordUnavailable, match=r"has no Powder.tar; it holds: Fibres.tar, Tips.tar"):
        b2share.find(record(OLD), "Powder.tar")


@pytest.mark.slow
def test_5xx_is_outlived(repository, b2share):
    repository.old(OLD, BUCKET, FILES)
    repository.server.script = {f"/api/records/{OLD}": [503], f"/api/files/{BUCKET}/Fibres.tar": [502]}
    assert b2share.find(record(OLD), "Fibres.tar").files


def test_a_list_cut_short_is_asked_for_again(repository, b2share):
    repository.old(OLD, BUCKET, FILES)
    repository.server.script = {f"/api/records/{OLD}": ["truncate"]}
    assert b2share.find(record(OLD), "Fibres.tar").files["Tips.tar"].size == 320


def test_no_server_is_not_a_missing_record(tmp_path):
    with pytest.raises(DatasetError, match=r"cannot be reached.*SRBENCH_B2SHARE_URL") as caught:
        B2Share("http://127.0.0.1:9", QUICK).find(record(OLD, SHORT), "Fibres.tar")
    assert not isinstance(caught.value, RecordUnavailable)


@pytest.mark.slow
def test_the_environment_names_a_mirror(repository, monkeypatch):
    monkeypatch.setenv("SRBENCH_B2SHARE_URL", repository.url + "/")
    repository.old(OLD, BUCKET, FILES)
    assert B2Share(retry=QUICK).find(record(OLD), "Fibres.tar").url("x").startswith(repository.url + "/api")
    monkeypatch.setenv("SRBENCH_B2SHARE_URL", "ftp://mirror")
    with pytest.raises(DatasetError, match="no http address"):
        B2Share(retry=QUICK).find(record(OLD), "Fibres.tar")


@pytest.mark.parametrize(
    "text",
    [
        SHORT,
        f" {SHORT} ",
        f"https://b2share.eudat.eu/records/{SHORT}",
        f"https://b2share.eudat.eu/records/{SHORT}/",
    ],
)
def test_a_record_as_people_give_it(text):
    assert parse_id(text) == SHORT


def test_a_record_by_its_doi():
    assert parse_id(f"https://doi.org/10.23728/b2share.{OLD}") == OLD
    assert parse_id(f"10.23728/b2share.{OLD.upper()}") == OLD


@pytest.mark.parametrize("text", ["", "..", "a/../b c", "x", "https://b2share.eudat.eu/records/?q=sem"])
def test_what_is_no_record_is_refused(text):
    with pytest.raises(DatasetError, match="is no record of B2SHARE"):
        parse_id(text)


def test_lists_of_any_order_and_with_more_than_asked_for(repository, b2share):
    repository.new(SHORT, {**FILES, "README.md": b"hello", "zz.tar": b"more"})
    raw = json.loads(repository.server.content[f"/api/records/{SHORT}/files"])
    raw["entries"].reverse()
    repository.json(f"/api/records/{SHORT}/files", raw)
    assert set(b2share.find(record(SHORT), "Fibres.tar").files) == {*FILES, "README.md", "zz.tar"}
