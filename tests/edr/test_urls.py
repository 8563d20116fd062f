"""Which addresses get a customer's secret."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vyrox.edr.urls import check_base_url, default_base_url, microsoft_cloud
from vyrox.models import Vendor

ROOT = "http://127.0.0.1:8099"


@pytest.mark.parametrize(
    ("vendor", "url", "expected"),
    [
        ("crowdstrike", "https://api.crowdstrike.com", "https://api.crowdstrike.com"),
        ("crowdstrike", "https://api.us-2.crowdstrike.com/", "https://api.us-2.crowdstrike.com"),
        ("crowdstrike", "HTTPS://API.EU-1.CrowdStrike.Com", "https://api.eu-1.crowdstrike.com"),
        (
            "crowdstrike",
            "https://api.laggar.gcw.crowdstrike.com",
            "https://api.laggar.gcw.crowdstrike.com",
        ),
        (
            "crowdstrike",
            "https://api.us-gov-2.crowdstrike.mil",
            "https://api.us-gov-2.crowdstrike.mil",
        ),
        ("sentinelone", "https://Acme-1.sentinelone.net/", "https://acme-1.sentinelone.net"),
        ("sentinelone", "https://a.sentinelone.net", "https://a.sentinelone.net"),
        ("defender", "https://api.security.microsoft.com", "https://api.security.microsoft.com"),
        (
            "defender",
            "https://eu.api.security.microsoft.com",
            "https://eu.api.security.microsoft.com",
        ),
        ("sentinelone", "https://a.s1gov.net", "https://a.s1gov.net"),
        ("defender", f"{ROOT}/defender", f"{ROOT}/defender"),
        ("crowdstrike", f"{ROOT}/crowdstrike/", f"{ROOT}/crowdstrike"),
    ],
)
def test_check_base_url_allows(vendor: Vendor, url: str, expected: str) -> None:
    assert check_base_url(vendor, url, ROOT) == expected
    assert check_base_url(vendor, url, ROOT + "/") == expected


@pytest.mark.parametrize("root", [None, "", ROOT])
@pytest.mark.parametrize(
    ("vendor", "url"),
    [
        pytest.param("crowdstrike", "", id="reject_empty"),
        pytest.param("crowdstrike", "http://api.crowdstrike.com", id="reject_plain_http"),
        pytest.param("crowdstrike", "api.crowdstrike.com", id="reject_no_scheme"),
        pytest.param("crowdstrike", "//api.crowdstrike.com", id="reject_relative"),
        pytest.param("crowdstrike", "https://api.crowdstrike.com.evil.com", id="reject_suffix"),
        pytest.param("crowdstrike", "https://evil.com/api.crowdstrike.com", id="reject_in_path"),
        pytest.param("crowdstrike", "https://api.crowdstrike.com@evil.com", id="reject_userinfo"),
        pytest.param("crowdstrike", "https://u:p@api.crowdstrike.com", id="reject_own_userinfo"),
        pytest.param("crowdstrike", "https://api.crowdstrike.com:443", id="reject_port"),
        pytest.param("crowdstrike", "https://api.crowdstrike.com:8443", id="reject_other_port"),
        pytest.param("crowdstrike", "https://api.crowdstrike.com.", id="reject_trailing_dot"),
        pytest.param("crowdstrike", "https://api.crowdstrike.com//", id="reject_two_slashes"),
        pytest.param("crowdstrike", "https://api.crowdstrike.com/v1", id="reject_path"),
        pytest.param("crowdstrike", "https://api.crowdstrike.com?x=1", id="reject_query"),
        pytest.param("crowdstrike", "https://api.crowdstrike.com#x", id="reject_fragment"),
        pytest.param("crowdstrike", "https:\\\\api.crowdstrike.com", id="reject_backslashes"),
        pytest.param("crowdstrike", "https://evil.com\\.crowdstrike.com", id="reject_backslash"),
        pytest.param("crowdstrike", " https://api.crowdstrike.com", id="reject_space"),
        pytest.param("crowdstrike", "https://api.crowdstrike.com\n", id="reject_newline"),
        pytest.param("crowdstrike", "https://api.crowdstri\u212ae.com", id="reject_kelvin_sign"),
        pytest.param("crowdstrike", "https://api\u3002crowdstrike.com", id="reject_wide_dot"),
        pytest.param("crowdstrike", "https://\u0430pi.crowdstrike.com", id="reject_cyrillic"),
        pytest.param("crowdstrike", "https://api.us-9.crowdstrike.com", id="reject_region"),
        pytest.param("crowdstrike", "https://api.security.microsoft.com", id="reject_neighbour"),
        pytest.param("defender", "https://graph.microsoft.com", id="reject_graph"),
        pytest.param("defender", "https://xx.api.security.microsoft.com", id="reject_ms_region"),
        pytest.param("sentinelone", "https://sentinelone.net", id="reject_bare_domain"),
        pytest.param("sentinelone", "https://.sentinelone.net", id="reject_empty_label"),
        pytest.param("sentinelone", "https://a.b.sentinelone.net", id="reject_two_labels"),
        pytest.param("sentinelone", "https://-a.sentinelone.net", id="reject_hyphen_first"),
        pytest.param("sentinelone", "https://a-.sentinelone.net", id="reject_hyphen_last"),
        pytest.param("sentinelone", f"https://{'a' * 64}.sentinelone.net", id="reject_long_label"),
        pytest.param("sentinelone", "https://a_b.sentinelone.net", id="reject_underscore"),
        pytest.param("sentinelone", "https://evil.com/.sentinelone.net", id="reject_s1_in_path"),
        pytest.param("sentinelone", "https://a.sentinelone.net.evil.com", id="reject_s1_suffix"),
        pytest.param("sentinelone", "https://a.sentinelone.net\n", id="reject_s1_newline"),
        pytest.param("generic", "https://api.crowdstrike.com", id="reject_no_vendor"),
        pytest.param("crowdstrike", ROOT, id="reject_root_itself"),
        pytest.param("crowdstrike", f"{ROOT}/defender", id="reject_other_vendor_below_root"),
        pytest.param("crowdstrike", f"{ROOT}/crowdstrike/x", id="reject_deeper_below_root"),
        pytest.param("crowdstrike", "http://127.0.0.1:80990/crowdstrike", id="reject_other_port2"),
        pytest.param("crowdstrike", "/crowdstrike", id="reject_below_no_root"),
    ],
)
def test_check_base_url_refuses(vendor: Vendor, url: str, root: str | None) -> None:
    with pytest.raises(ValueError, match="is not one of the addresses"):
        check_base_url(vendor, url, root)


@given(st.sampled_from(["crowdstrike", "sentinelone", "defender"]), st.text())
def test_check_base_url_lets_nobody_choose_the_host(vendor: Vendor, text: str) -> None:
    domains = {
        "crowdstrike": "https://api.crowdstrike.com",
        "sentinelone": "https://acme.sentinelone.net",
        "defender": "https://api.security.microsoft.com",
    }
    for url in (text + domains[vendor], domains[vendor] + text):
        try:
            checked = check_base_url(vendor, url, None)
        except ValueError:
            continue
        assert checked == url.lower().removesuffix("/")
        assert set(checked) <= set("abcdefghijklmnopqrstuvwxyz0123456789.-:/")
        assert checked.count("/") == 2


def test_default_base_url_is_an_allowed_one() -> None:
    assert default_base_url("crowdstrike") == "https://api.crowdstrike.com"
    assert default_base_url("defender") == "https://api.security.microsoft.com"
    assert default_base_url("sentinelone") is None
    assert default_base_url("generic") is None


@pytest.mark.parametrize("root", [None, ROOT])
@pytest.mark.parametrize(
    ("api", "login", "graph", "scope"),
    [
        (
            "api.security.microsoft.com",
            "login.microsoftonline.com",
            "graph.microsoft.com",
            "api.securitycenter.microsoft.com",
        ),
        (
            "api-gcc.securitycenter.microsoft.us",
            "login.microsoftonline.com",
            "graph.microsoft.com",
            "api-gcc.securitycenter.microsoft.us",
        ),
        (
            "api-gov.securitycenter.microsoft.us",
            "login.microsoftonline.us",
            "graph.microsoft.us",
            "api-gov.securitycenter.microsoft.us",
        ),
    ],
)
def test_each_cloud_of_microsoft_has_its_own_login_contract_73(
    root: str | None, api: str, login: str, graph: str, scope: str
) -> None:
    url = check_base_url("defender", f"https://{api.upper()}/".replace("HTTPS", "https"), root)
    cloud = microsoft_cloud(url, root)
    assert cloud.login == f"https://{login}"
    assert (cloud.graph, cloud.graph_scope) == (f"https://{graph}", f"https://{graph}/.default")
    assert cloud.scope == f"https://{scope}/.default"


def test_login_is_below_the_test_root_there() -> None:
    assert microsoft_cloud(f"{ROOT}/defender", ROOT).login == f"{ROOT}/defender/login"
    worldwide = "https://login.microsoftonline.com"
    assert microsoft_cloud(f"{ROOT}/defender", None).login == worldwide
