"""What an operator does at the command line."""

import json
import stat
import subprocess

import pytest

from helpers.kms import LocalKms
from helpers.life import REFUSALS
from helpers.node import API_KEY, PASSWORD, Node, files_under
from helpers.program import PATIENCE, binary, clean_environment, custody


def fill(node: Node) -> None:
    client = node.client()
    client.create_collection("points", dimension=8, metric_type="L2")
    client.insert("points", [{"id": number, "vector": [float(number)] * 8} for number in range(500)])
    client.flush("points")


def sealed_files(node: Node) -> list:
    """Every sealed file of a cluster, by its magic; the keyrings are the other kind."""
    magic = sealed_magic(node)
    return [path for path in files_under(node.storage_dir()) if path.read_bytes().startswith(magic)]


def sealed_magic(node: Node) -> bytes:
    """What most files of the cluster begin with."""
    starts = [path.read_bytes()[:8] for path in files_under(node.storage_dir())]
    return max(set(starts), key=starts.count)


# --- the local KMS ------------------------------------------------------------------------------------------------


def test_create_key_prints_the_arn_alone(tmp_path):
    kms = LocalKms(tmp_path)
    printed = kms.run("create-key")
    assert printed.startswith("arn:") and printed.count("\n") == 1 and " " not in printed
    assert list(kms.states()) == [printed.strip()]


def test_a_key_goes_through_its_states(tmp_path):
    kms = LocalKms(tmp_path)
    key, other = kms.create_key(), kms.create_key()

    def state() -> str:
        return kms.states()[key].split()[0].lower()

    assert state() == "enabled"
    kms.disable(key)
    assert state() == "disabled"
    kms.enable(key)
    assert state() == "enabled"
    kms.run("schedule-deletion", key)
    assert state().startswith("pending")
    assert "deletion" in kms.refused("enable", key).lower()
    kms.run("cancel-deletion", key)
    assert state() == "disabled", "as in AWS"
    assert kms.states()[other].split()[0].lower() == "enabled"


def test_what_can_not_be_done_to_a_key_is_refused(tmp_path):
    kms = LocalKms(tmp_path)
    key = kms.create_key()
    missing = key[:-4] + ("0000" if not key.endswith("0000") else "1111")
    assert missing in kms.refused("disable", missing)
    kms.refused("disable", "not-an-arn")
    kms.refused("cancel-deletion", key)
    assert kms.states()[key].split()[0].lower() == "enabled"


def test_the_key_file_is_its_owners_alone(tmp_path):
    kms = LocalKms(tmp_path)
    kms.create_key()
    file = tmp_path / "local-kms.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    file.chmod(0o644)
    assert "0644" in kms.refused("list")
    file.chmod(0o600)
    material = json.loads(file.read_text())["keys"][0]["material"]
    assert material not in kms.run("list")


# --- sealed files -------------------------------------------------------------------------------------------------


def verify(node: Node, *more: str):
    return custody(
        *("verify", "--data-dir", node.data_dir, "--cluster-id", node.cluster_id),
        *("--key-arn", node.key_arn, "--allow-swap", *more),
    )


def test_inspect_shows_a_sealed_files_header_without_a_key(encrypted_node):
    fill(encrypted_node)
    encrypted_node.stop()
    (encrypted_node.data_dir / "local-kms.json").unlink()
    for path in sealed_files(encrypted_node)[:5]:
        done = custody("inspect", path)
        assert done.returncode == 0, done.stderr
        shown = done.stdout.lower()
        for part in ("zone", "version", "chunk", "suite", "file id"):
            assert part in shown, f"'{part}' is not shown:\n{done.stdout}"


def test_inspect_refuses_what_is_not_a_sealed_file(tmp_path):
    file = tmp_path / "plain"
    file.write_text("not sealed " * 100)
    done = custody("inspect", file)
    assert done.returncode != 0 and str(file) in done.stderr
    done = custody("inspect", tmp_path / "missing")
    assert done.returncode != 0 and "missing" in done.stderr


def test_verify_passes_a_sound_cluster(encrypted_node):
    fill(encrypted_node)
    encrypted_node.stop()
    done = verify(encrypted_node)
    assert done.returncode == 0, done.stdout + done.stderr


def test_verify_names_the_file_in_which_a_byte_was_flipped(encrypted_node):
    fill(encrypted_node)
    encrypted_node.stop()
    files = sealed_files(encrypted_node)
    long = [path for path in files if path.stat().st_size > 300]
    for path, place in ((files[0], 20), (long[len(long) // 2], 300), (files[-1], -1)):
        content = bytearray(path.read_bytes())
        content[place] ^= 1
        path.write_bytes(content)
        done = verify(encrypted_node)
        assert done.returncode != 0, f"a flipped byte at {place} of {path} was not found:\n{done.stdout}"
        assert path.name in done.stdout + done.stderr
        content[place] ^= 1
        path.write_bytes(content)
    assert verify(encrypted_node).returncode == 0


def test_verify_finds_a_cut_file_and_a_swapped_one(encrypted_node):
    fill(encrypted_node)
    encrypted_node.stop()
    one, two = sorted(sealed_files(encrypted_node), key=lambda path: path.stat().st_size)[-2:]
    first, second = one.read_bytes(), two.read_bytes()
    one.write_bytes(first[:-1])
    assert verify(encrypted_node).returncode != 0
    one.write_bytes(second)
    two.write_bytes(first)
    done = verify(encrypted_node)
    assert done.returncode != 0 and one.name in done.stdout + done.stderr and two.name in done.stdout + done.stderr


def test_verify_needs_the_key(encrypted_node, local_kms):
    fill(encrypted_node)
    encrypted_node.stop()
    local_kms.disable(encrypted_node.key_arn)
    done = verify(encrypted_node)
    assert done.returncode != 0 and "disabled" in done.stderr


# --- one node per cluster -----------------------------------------------------------------------------------------


def test_a_second_node_on_the_same_data_fences_the_first_one_out(make_node, encrypted_node):
    first = encrypted_node
    fill(first)
    old = first.client()
    second = make_node("second", key_arn=first.key_arn, cluster_id=first.cluster_id, data_dir=first.data_dir).start()
    new = second.client()
    new.insert("points", [{"id": 1_000, "vector": [0.0] * 8}])
    with pytest.raises(REFUSALS):
        old.insert("points", [{"id": 2_000, "vector": [0.0] * 8}], retry_times=0)
    process = first.process
    assert process is not None
    code = process.wait(PATIENCE)
    first.process = None
    assert code not in (0, -9), first.output()
    assert "fenced" in first.output()
    found = new.query("points", filter="id >= 1000", output_fields=["id"])
    assert [row["id"] for row in found] == [1_000]
    second.restart()
    assert second.client().query("points", filter="", output_fields=["count(*)"])[0]["count(*)"] == 501


def test_a_cluster_does_not_open_under_another_id_or_as_an_unencrypted_one(make_node, encrypted_node):
    node = encrypted_node
    fill(node)
    node.stop()
    storage = node.storage_dir()
    moved = storage.with_name("in01-another")
    storage.rename(moved)
    node_as_another = make_node("a", key_arn=node.key_arn, cluster_id="in01-another", data_dir=node.data_dir)
    node_as_another.start_refused()
    moved.rename(storage)
    make_node("b", cluster_id=node.cluster_id, data_dir=node.data_dir).start_refused()
    node.start()
    assert node.client().query("points", filter="", output_fields=["count(*)"])[0]["count(*)"] == 500


# --- settings -----------------------------------------------------------------------------------------------------


def test_config_prints_the_settings_and_no_secret(tmp_path):
    settings = tmp_path / "custody.toml"
    settings.write_text('key_check_interval = "42s"\n')
    environment = {"CUSTODY_ROOT_PASSWORD": PASSWORD, "CUSTODY_API_KEY": API_KEY, "CUSTODY_KEY_GRACE": "2h"}
    done = custody("config", "--listen", "127.0.0.1:12345", env=environment, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "42s" in done.stdout and "2h" in done.stdout and "127.0.0.1:12345" in done.stdout
    for secret in (PASSWORD, API_KEY):
        assert secret not in done.stdout + done.stderr


def test_a_secret_in_the_settings_file_is_refused_and_not_repeated(tmp_path):
    """Secrets come by variable only, or from a file of their own."""
    (tmp_path / "custody.toml").write_text('root_password = "hush-from-the-file"\n')
    done = custody("config", cwd=tmp_path)
    assert done.returncode != 0 and "root_password" in done.stderr
    assert "hush-from-the-file" not in done.stdout + done.stderr


def test_a_password_that_looks_like_a_number_is_a_password_and_is_not_repeated(make_node, local_kms):
    node = make_node(key_arn=local_kms.create_key(), password="1234567890").start()
    assert node.client().list_collections() == []
    assert "1234567890" not in node.output()


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--key-check-interval", "10ms"), "1s"),
        (("--key-grace", "25h"), "24h"),
        (("--listen", "0.0.0.0:1"), "--insecure"),
        (("--storage", "ftp://x"), "s3://"),
    ],
)
def test_settings_that_can_not_be_meant_are_refused(tmp_path, arguments, named):
    data = tmp_path / "data"
    done = custody("node", "--data-dir", data, "--cluster-id", "in01-x", "--unencrypted", *arguments, cwd=tmp_path)
    assert done.returncode != 0 and named in done.stderr
    assert not data.exists()


def test_an_api_key_that_others_could_guess_is_refused_where_others_can_try(tmp_path):
    data = tmp_path / "data"
    base = ["node", "--data-dir", data, "--cluster-id", "in01-x", "--unencrypted", "--listen", "192.0.2.1:1", "--insecure"]
    done = custody(*base, cwd=tmp_path, env={"CUSTODY_API_KEY": "nineteen-characters"})
    assert done.returncode != 0 and "CUSTODY_API_KEY" in done.stderr and "20 characters" in done.stderr, done.stderr
    assert "nineteen" not in done.stderr and not data.exists()
    done = custody(*base, cwd=tmp_path, env={"CUSTODY_API_KEY": "it-has-20-characters"})
    assert done.returncode != 0 and "20 characters" not in done.stderr, "it has come to the address, which is no machine's"


def test_a_node_needs_a_key_or_a_plain_word_that_there_is_none(tmp_path):
    done = custody("node", "--data-dir", tmp_path / "data", "--cluster-id", "in01-x", cwd=tmp_path)
    assert done.returncode != 0 and "--key-arn" in done.stderr
    assert not (tmp_path / "data").exists()


def test_a_made_password_lies_in_a_file_of_the_owner_alone_and_in_no_log(make_node, local_kms):
    node = make_node(key_arn=local_kms.create_key())
    del node.env["CUSTODY_ROOT_PASSWORD"]
    node.start()
    file = node.data_dir / "root-password"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    node.password = file.read_text().strip()
    assert node.client().list_collections() == []
    assert node.password not in node.output()


def test_metrics_hold_no_names(encrypted_node):
    fill(encrypted_node)
    status, text = encrypted_node.http("/metrics")
    assert status == 200 and "custody_" in text
    assert "points" not in text and "root" not in text


# --- faults -------------------------------------------------------------------------------------------------------


def test_a_fault_of_the_program_is_told_by_its_place_alone():
    """Printing where nothing can be written is a fault of the program that can be had for the asking."""
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [binary(), "demo"], env=clean_environment(), stdout=full, stderr=subprocess.PIPE, text=True, timeout=PATIENCE
        )
    assert done.returncode != 0
    assert "a fault of the program at" in done.stderr and "panicked" not in done.stderr
    assert "No space left" not in done.stderr, "the message of the panic is told"
