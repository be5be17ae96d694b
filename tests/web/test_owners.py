import pytest

pytest.importorskip("fastapi", reason="needs the extra `serve`")

from medvol_r1.web.owners import COOKIE, Owners


def cookie(value):
    return f"other=1; {COOKIE}={value}"


def test_a_cookie_is_an_owner():
    owners = Owners()
    value = owners.new_cookie()
    assert owners.of(cookie(value), "") == owners.of_cookie(value) == owners.of(cookie(value), "")
    assert owners.of_cookie(owners.new_cookie()) != owners.of_cookie(value)


@pytest.mark.parametrize(
    "cookies", ["", "a=b", cookie(""), cookie("x"), cookie("x.y"), cookie("."), "=;;", "\0", "a[]=1"]
)
def test_what_the_server_has_not_signed_is_nobody(cookies):
    assert Owners().of(cookies, "") is None


def test_another_servers_cookie_is_nobody():
    assert Owners().of(cookie(Owners().new_cookie()), "") is None


def test_a_changed_cookie_is_nobody():
    owners = Owners()
    name, _, signature = owners.new_cookie().partition(".")
    assert owners.of(cookie(f"{name}x.{signature}"), "") is None


def test_a_bearer_is_an_owner_where_there_is_no_key():
    owners = Owners()
    assert owners.of("", "Bearer anna") == owners.of("", "bearer anna") != owners.of("", "Bearer bob")
    assert "anna" not in owners.of("", "Bearer anna")
    assert owners.of("", "Basic anna") is owners.of("", "Bearer ") is None


def test_with_a_key_only_the_key_is_let_in():
    owners = Owners("sésame")
    assert owners.of("", "Bearer sésame") is not None
    assert owners.of("", "Bearer sesame") is owners.of("", "Bearer ") is owners.of("", "") is None
    assert owners.is_key("sésame") and not owners.is_key("") and not owners.is_key("sésame ")
    assert owners.of(cookie(owners.new_cookie()), "") is not None
    assert owners.of(cookie(owners.new_cookie()), "Bearer wrong") is None
