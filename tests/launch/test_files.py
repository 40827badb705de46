import base64

import pytest

from mcpctld.errors import UserError
from mcpctld.launch.files import files
from mcpctld.launch.wish import Wish


def encoded(text):
    return base64.b64encode(text.encode()).decode()


def test_three_ways_to_put_a_file_into_a_machine():
    wish = Wish(
        file_local={"/b": encoded("local")},
        file_literal={"/a": "\N{SNOWMAN}", "/empty": ""},
        file_secret={"/c": "KEY"},
        secrets={"KEY": encoded("hush")},
    )
    assert files(wish) == [
        {"guest_path": "/a", "raw_value": encoded("\N{SNOWMAN}")},
        {"guest_path": "/b", "raw_value": encoded("local")},
        {"guest_path": "/c", "secret_name": "KEY"},
        {"guest_path": "/empty", "raw_value": ""},
    ]
    assert files(Wish()) == []


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"file_literal": {"a": ""}}, "must be absolute and plain"),
        ({"file_literal": {"/": ""}}, "must be absolute and plain"),
        ({"file_literal": {"/a/../b": ""}}, "must be absolute and plain"),
        ({"file_local": {"/a": "%"}}, "contents of file /a are not Base64"),
        ({"file_local": {"/a": "\N{SNOWMAN}"}}, "contents of file /a are not Base64"),
        ({"file_secret": {"/a": "K"}}, "--secret K"),
        ({"file_secret": {"/a": "K"}, "secrets": {"K": "plain text"}}, "must be in Base64"),
        ({"file_literal": {"/a": "x"}, "file_local": {"/a": ""}}, "/a is given twice"),
    ],
)
def test_a_file_that_cannot_be_put_there_is_refused(fields, reason):
    with pytest.raises(UserError, match=reason) as refused:
        files(Wish(**fields))
    assert "plain text" not in str(refused.value)


def test_the_values_of_secrets_are_not_missed_where_they_were_not_kept():
    assert files(Wish(file_secret={"/a": "K"}), kept=True) == [
        {"guest_path": "/a", "secret_name": "K"}
    ]
