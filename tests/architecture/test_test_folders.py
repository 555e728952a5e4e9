"""The folders of the tests mirror the nouns: the unit tests of `platform/finpool/D/N` are in `tests/unit/D/N`.

Integration tests stand alike; only folders beside those of domains, like `faults`, hold tests of several domains.
"""

from collections.abc import Iterable
from pathlib import Path

from source_files import PACKAGE, ROOT, imports, tracked

TESTS = ROOT / "tests" / "unit"
UNIT_TESTS = [ROOT / name for name in tracked("tests/unit/**/test_*.py")]
INTEGRATION = ROOT / "tests" / "integration"
INTEGRATION_FOLDERS = {
    (ROOT / name).parent.relative_to(INTEGRATION) for name in tracked("tests/integration/**/test_*.py")
}


def nouns_of(domain: str) -> set[str]:
    return {each.name for each in (PACKAGE / domain).iterdir() if (each / "__init__.py").is_file()}


def misplaced(test: Path, imported: Iterable[str]) -> str | None:
    """Return what is wrong with the folder of a test that imports these modules, or None."""
    folder = test.parent.relative_to(TESTS)
    if not folder.parts or not (PACKAGE / folder / "__init__.py").is_file():
        return f"{test.relative_to(ROOT)}: finpool has no package {folder}"
    domain, *noun = folder.parts
    nouns = nouns_of(domain)
    names = [each.split(".")[2] for each in imported if each.startswith(f"finpool.{domain}.")]
    if noun and names and noun[0] not in names:
        return f"{test.relative_to(ROOT)} imports other parts of {domain}, and not {noun[0]}"
    if not noun and names and nouns.issuperset(names):
        return f"{test.relative_to(ROOT)} imports {', '.join(sorted(set(names)))}: move it into a folder of that name"
    return None


def test_every_unit_test_is_in_the_folder_of_its_noun() -> None:
    assert [found for each in UNIT_TESTS if (found := misplaced(each, imports(each)))] == []


def without_a_noun(folders: Iterable[Path]) -> list[str]:
    """Return the folders below that of a domain which have no package in it."""
    return sorted(
        str(each)
        for each in folders
        if len(each.parts) > 1 and (PACKAGE / each.parts[0]).is_dir() and not (PACKAGE / each / "__init__.py").is_file()
    )


def test_every_folder_of_integration_tests_in_a_domain_is_named_by_a_noun() -> None:
    assert without_a_noun(INTEGRATION_FOLDERS) == []
    planted = [Path("quota/wallet"), Path("quota/ledger"), Path("quota"), Path("faults/disk")]
    assert without_a_noun(planted) == ["quota/wallet"]


def test_planted_tests_in_wrong_folders_are_found() -> None:
    wallet, beside = TESTS / "quota" / "wallet" / "test_a.py", TESTS / "quota" / "test_a.py"
    assert misplaced(wallet, []) == "tests/unit/quota/wallet/test_a.py: finpool has no package quota/wallet"
    assert "has no package ." in str(misplaced(TESTS / "test_a.py", []))
    assert "move it into a folder" in str(misplaced(beside, ["finpool.quota.ledger.service", "finpool.kernel.ids"]))
    assert misplaced(beside, ["finpool.quota.ledger.service", "finpool.quota.periods"]) is None
    lease = TESTS / "quota" / "lease" / "test_a.py"
    assert "imports other parts of quota" in str(misplaced(lease, ["finpool.quota.ledger.service"]))
    assert misplaced(lease, ["finpool.quota.ledger.service", "finpool.quota.lease.service"]) is None
