from pathlib import Path

import pytest

from worker.settings import Settings, SettingsError, load


def settings(toml: str, folder: Path, **environ: str) -> Settings:
    (folder / "aftercall.toml").write_text(toml)
    return load(environ, folder)


def problems(toml: str, folder: Path) -> tuple[str, ...]:
    with pytest.raises(SettingsError) as refused:
        settings(toml, folder)
    return refused.value.problems


def test_without_a_table_every_call_is_logged_and_unknown_callers_become_contacts(tmp_path: Path) -> None:
    crm = load({}, tmp_path).crm

    assert (crm.create_contacts, crm.without_contact, crm.on_two_matches, crm.skip) == (True, "log", "oldest", ())


def test_the_table_is_read(tmp_path: Path) -> None:
    toml = """
[crm]
create_contacts = false
region = "DE"
skip = [{path = "call.metadata.test", equals = true}]
call_properties = {hubspot_owner_id = 11349275740, hs_call_title = "Call: {facts.summary}"}
dispositions = {voicemail = ""}
"""
    crm = settings(toml, tmp_path).crm

    assert crm.call_properties["hubspot_owner_id"] == 11349275740
    assert crm.skip[0].path == "call.metadata.test"
    assert crm.dispositions == {"voicemail": ""}


def test_every_mistake_in_the_table_is_told_with_its_line(tmp_path: Path) -> None:
    toml = """\
[crm]
region = "germany"
call_key = "My Key"
external_id_path = "facts.externalid"
[crm.call_properties]
score = "call.anlysis.structuredData.score"
"Bad Name" = "facts.cost"
hs_call_body = "{facts.sumary}"
[crm.contact_properties]
firstname = ""
[[crm.skip]]
path = "outcome.result"
[[crm.skip]]
path = "facts.dirction"
equals = "web"
"""
    told = problems(toml, tmp_path)

    lines = sorted(int(each.split("line ")[1].split(":")[0]) for each in told)
    assert lines == [2, 3, 4, 6, 7, 8, 11, 14]
    assert any("did you mean analysis?" in each for each in told)


def test_an_unknown_key_and_a_wrong_type_are_told(tmp_path: Path) -> None:
    assert problems("[crm]\ncreate_contact = true\n", tmp_path) == (
        "aftercall.toml, line 2: crm.create_contact: this is no key of that table",
    )
    assert "line 2: crm.on_two_matches" in problems('[crm]\non_two_matches = "guess"\n', tmp_path)[0]


def test_a_token_is_its_accounts_own(tmp_path: Path) -> None:
    accounts = load(
        {
            "AFTERCALL_CRM_TOKEN": "pat-1",
            "AFTERCALL_ACCOUNTS__ACME__VAPI_API_KEY": "k",
            "AFTERCALL_ACCOUNTS__BETA__CRM_TOKEN": "pat-2",
        },
        tmp_path,
    ).accounts

    assert {each.name: each.crm_token.reveal() for each in accounts} == {
        "default": "pat-1",
        "acme": "",
        "beta": "pat-2",
    }


def test_the_example_of_the_readme_is_one(tmp_path: Path) -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    section = readme.split("### CRM (HubSpot)")[1].split("### ")[0]
    example = "\n".join(line.removeprefix("    ") for line in section.splitlines() if line.startswith("    "))

    crm = settings(example, tmp_path).crm

    assert (len(crm.skip), crm.external_id_property) == (2, "customer_no")
