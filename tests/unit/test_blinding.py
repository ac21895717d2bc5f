"""Codes and the sealed folder: private, stable, keyed, without collisions, read by the release alone."""

import multiprocessing
import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mri_pipeline.blinding import codes
from mri_pipeline.blinding.codes import keyed_code
from mri_pipeline.blinding.key import Sealed, TrialSubject
from mri_pipeline.core.errors import UsageError
from mri_pipeline.core.layout import Trial


@pytest.fixture
def trial(tmp_path):
    return Trial(tmp_path)


@pytest.fixture
def sealed(trial):
    return Sealed.create(trial)


@given(st.binary(min_size=1), st.text(), st.text())
def test_codes_have_one_form_and_depend_on_key_and_text(key, one, other):
    code = keyed_code(key, one)
    assert len(code) == codes.CODE_LENGTH
    assert code[0] in codes.LETTERS
    assert set(code) <= set(codes.ALPHABET)
    assert not set(code) & set("AEIOUY01")
    assert keyed_code(key, one) == code
    assert (keyed_code(key, other) == code) is (one == other)
    assert keyed_code(key + b"x", one) != code


def test_codes_use_their_whole_alphabet_at_every_place():
    found = [keyed_code(b"key", str(n)) for n in range(3000)]
    assert len(set(found)) == 3000
    assert {code[0] for code in found} == set(codes.LETTERS)
    for place in range(1, codes.CODE_LENGTH):
        assert {code[place] for code in found} == set(codes.ALPHABET)


def test_sealed_is_private_whatever_the_umask(tmp_path):
    before = os.umask(0)
    try:
        Sealed.create(Trial(tmp_path)).code_for("S01", "0012")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "sealed").stat().st_mode) == 0o700
    files = sorted((tmp_path / "sealed").iterdir())
    assert [p.name for p in files] == ["codes.csv", "pepper", "pepper.check", "subjects.csv"]
    assert {stat.S_IMODE(p.stat().st_mode) for p in files} == {0o600}


@pytest.mark.parametrize("name", ["pepper", "pepper.check", "subjects.csv", "codes.csv"])
def test_a_file_others_may_read_is_refused(trial, sealed, name):
    (trial.sealed / name).chmod(0o640)
    with pytest.raises(UsageError, match=f"sealed/{name}: expected mode 0600, found 0640"):
        Sealed.open(trial)


def test_lost_or_damaged_secret_is_refused_not_renewed(trial, sealed):
    with pytest.raises(UsageError, match="expected no secret in sealed/"):
        Sealed.create(trial)
    (trial.sealed / "pepper").write_bytes(b"short")
    with pytest.raises(UsageError, match="expected 32 bytes, found 5"):
        Sealed.open(trial)
    (trial.sealed / "pepper").unlink()
    with pytest.raises(UsageError, match="expected sealed/pepper of this trial, found no such file"):
        Sealed.open(trial)


@pytest.mark.requirement("BLIND-02")
def test_a_subject_keeps_its_code_and_the_key_turns_it_back(trial, sealed):
    subjects = [(site, f"{n:04d}") for site in ("S01", "S02") for n in range(50)]
    given_out = {subject: sealed.code_for(*subject) for subject in subjects}
    assert len(set(given_out.values())) == 100
    again = Sealed.open(trial)
    assert {subject: again.code_for(*subject) for subject in subjects} == given_out
    assert again.code_for("s01", "0001") == given_out["S01", "0001"]
    key = again.release()
    assert {(s.site, s.number): code for code, s in key.items()} == given_out


def test_codes_of_another_trial_differ(tmp_path):
    one, two = (Sealed.create(Trial(tmp_path / name)) for name in ("a", "b"))
    assert one.code_for("S01", "0001") != two.code_for("S01", "0001")


def test_taking_in_a_subject_never_reads_the_key(trial, sealed, monkeypatch):
    sealed.code_for("S01", "0001")
    opened = []
    real_open = Path.open

    def watched(self, mode="r", *args, **kwargs):
        opened.append((self.name, mode))
        return real_open(self, mode, *args, **kwargs)

    monkeypatch.setattr(Path, "open", watched)
    Sealed.open(trial).code_for("S01", "0001")
    Sealed.open(trial).code_for("S01", "0002")
    assert "codes.csv" in {name for name, _ in opened}
    assert "subjects.csv" not in {name for name, _ in opened}
    assert "S01" not in (trial.sealed / "codes.csv").read_text()


def test_a_collision_gives_another_code(trial, sealed, monkeypatch):
    real = codes.keyed_code
    monkeypatch.setattr(
        codes, "keyed_code", lambda key, text: real(key, text.split("|", 2)[2] if text.count("|") > 1 else "")
    )
    found = [sealed.code_for("S01", str(n)) for n in range(4)]
    assert len(set(found)) == 4
    assert [sealed.code_for("S01", str(n)) for n in range(4)] == found
    assert len(sealed.release()) == 4


@pytest.mark.parametrize(
    ("site", "number"), [("S01", ""), ("S01", "12,3"), ("S|1", "2"), ("S01", "12\n"), ("", "1"), ("S01", "Müller")]
)
def test_odd_numbers_are_refused_without_repeating_them(sealed, site, number):
    message = (
        r"expected a site and a subject number of 1 to 32 .*, found \d and \d characters, of which \d not allowed$"
    )
    with pytest.raises(UsageError, match=message) as caught:
        sealed.code_for(site, number)
    assert len(number) < 2 or number not in caught.value.message


def test_secrets_differ_by_purpose_and_last(trial, sealed):
    one, two = sealed.secret("date shift"), sealed.secret("uid")
    assert one != two
    assert len(one) == 32
    assert Sealed.open(trial).secret("date shift") == one
    assert one != (trial.sealed / "pepper").read_bytes()


def test_a_damaged_key_is_noticed(trial, sealed):
    code = sealed.code_for("S01", "0001")
    with (trial.sealed / "subjects.csv").open("a") as stream:
        stream.write(f"{code},S01,0001\n")  # a process that died between its two entries
    assert sealed.release() == {code: TrialSubject("S01", "0001")}
    with (trial.sealed / "subjects.csv").open("a") as stream:
        stream.write(f"{code},S01,0002\n")
    with pytest.raises(UsageError, match="expected one subject for each code, found two"):
        sealed.release()


@pytest.mark.requirement("AUDIT-05")
def test_one_changed_bit_of_the_secret_is_noticed_when_the_folder_is_opened(trial, sealed):
    path = trial.sealed / "pepper"
    content = bytearray(path.read_bytes())
    content[7] ^= 4
    path.write_bytes(content)
    with pytest.raises(
        UsageError,
        match=r"^sealed/pepper: expected the secret of this trial, found one that does not match its check value",
    ):
        Sealed.open(trial)


def test_the_check_of_the_secret_does_not_reveal_it(trial, sealed):
    pepper = (trial.sealed / "pepper").read_bytes()
    check = (trial.sealed / "pepper.check").read_bytes()
    assert pepper not in check
    assert pepper.hex().encode() not in check
    assert len(check) == 65


def test_a_folder_of_an_earlier_version_is_tested_by_its_key_once(trial, sealed):
    sealed.code_for("S01", "0001")
    check = trial.sealed / "pepper.check"
    expected = check.read_bytes()
    check.unlink()
    Sealed.open(trial)
    assert check.read_bytes() == expected
    check.unlink()
    path = trial.sealed / "pepper"
    path.write_bytes(bytes(32))
    with pytest.raises(
        UsageError, match=r"sealed/subjects\.csv: expected every issued code .* found 1 of 1 without"
    ):
        Sealed.open(trial)
    assert not check.exists()


def _swapped(rows):
    one, two = (row.split(",") for row in rows[1:3])
    return [rows[0], f"{one[0]},{two[1]},{two[2]}", f"{two[0]},{one[1]},{one[2]}", *rows[3:]]


@pytest.mark.parametrize(
    ("damage", "found"),
    [
        (_swapped, "2 of 3"),
        (lambda rows: rows[:-1], "1 of 3"),
        (lambda rows: [*rows[:-1], rows[-1].replace("0003", "0004")], "1 of 3"),
        (lambda rows: [*rows[:-1], rows[-1].split(",")[0]], "1 of 3"),
        (lambda rows: [rows[0].replace("site", "centre"), *rows[1:]], "3 of 3"),
        (lambda rows: rows[:1], "3 of 3"),
    ],
)
@pytest.mark.requirement("AUDIT-05")
def test_a_changed_row_of_the_key_is_noticed(trial, sealed, damage, found):
    for n in (1, 2, 3):
        sealed.code_for("S01", f"000{n}")
    path = trial.sealed / "subjects.csv"
    path.write_text("\n".join(damage(path.read_text().splitlines())) + "\n")
    with pytest.raises(
        UsageError, match=f"expected every issued code beside its own subject, found {found} without"
    ):
        Sealed.open(trial).release()


def test_an_issued_code_with_another_check_value_is_noticed(trial, sealed):
    code = sealed.code_for("S01", "0001")
    path = trial.sealed / "codes.csv"
    text = path.read_text()
    check = text.splitlines()[1].split(",")[1]
    path.write_text(text.replace(check, check[::-1]))
    with pytest.raises(UsageError, match="found 1 of 1 without"):
        sealed.release()
    assert code in path.read_text()


def _take_in(root, first):
    sealed = Sealed.open(Trial(root))
    for n in range(20):
        sealed.code_for("S01", str((n + first) % 20))


def test_processes_take_in_beside_each_other(tmp_path):
    sealed = Sealed.create(Trial(tmp_path))
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_take_in, args=(tmp_path, first)) for first in (0, 7, 13)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()  # pytest limits the time: a busy machine is no fault
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert len((tmp_path / "sealed" / "subjects.csv").read_text().splitlines()) == 1 + 20
    assert len(sealed.release()) == 20


def test_a_preview_gives_the_code_and_enters_no_subject(tmp_path):
    sealed = Sealed.create(Trial(tmp_path))
    before = {path: path.read_bytes() for path in (tmp_path / "sealed").iterdir()}
    code = sealed.preview("S01", "0012")
    assert {path: path.read_bytes() for path in (tmp_path / "sealed").iterdir()} == before
    assert sealed.code_for("S01", "0012") == code == sealed.preview("s01", "0012")
    with pytest.raises(UsageError, match="expected a site and a subject number"):
        sealed.preview("S01", "00 12")
