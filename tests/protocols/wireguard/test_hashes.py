"""`mcpctld.protocols.wireguard.hashes`: published vectors."""

import pytest

from mcpctld.protocols.wireguard.hashes import hash_of, kdf, mac
from mcpctld.protocols.wireguard.noise import IDENTIFIER, NAME

KEY = bytes(range(32))

# RFC 7693 appendix B, and the reference implementation's known answers
BLAKE2S = {
    b"abc": "508c5e8c327c14e2e1a72ba34eeb452f37458b209ed63a294d999b4c86675982",
    b"": "69217a3079908094e11121d042354a7c1f55b6482ca1a51e1b250dfd1ed0eef9",
}

# wireguard-go, device/kdf_test.go: key, input, KDF3
KDF = [
    (
        b"test-key",
        b"test-input",
        "6f0e5ad38daba1bea8a0d213688736f19763239305e0f58aba697f9ffc41c633",
        "df1194df20802a4fe594cde27e92991c8cae66c366e8106aaa937a55fa371e8a",
        "fac6e2745a325f5dc5d11a5b165aad08b0ada28e7b4e666b7c077934a4d76c24",
    ),
    (
        b"wireguard",
        b"wireguard",
        "491d43bbfdaa8750aaf535e334ecbfe5129967cd64635101c566d4caefda96e8",
        "1e71a379baefd8a79aa4662212fcafe19a23e2b609a3db7d6bcba8f560e3d25f",
        "31e1ae48bddfbe5de38f295e5452b1909a1b4e38e183926af3780b0c1e1f0160",
    ),
    (
        b"",
        b"",
        "8387b46bf43eccfcf349552a095d8315c4055beb90208fb1be23b894bc2ed5d0",
        "58a0e5f6faefccf4807bff1f05fa8a9217945762040bcec2f4b4a62bdfe0e86e",
        "0ce6ea98ec548f8e281e93e32db65621c45eb18dc6f0a7ad94178610a2f7338e",
    ),
]


@pytest.mark.parametrize(("data", "expected"), BLAKE2S.items())
def test_hash(data, expected):
    assert hash_of(data).hex() == expected


def test_a_mac_is_keyed_and_has_16_bytes():
    assert mac(KEY, b"").hex() == "9536f9b267655743dee97b8a670f9f53"
    assert mac(KEY, b"") != mac(KEY[::-1], b"")


@pytest.mark.parametrize(("key", "data", "first", "second", "third"), KDF)
def test_kdf(key, data, first, second, third):
    expected = [bytes.fromhex(text) for text in (first, second, third)]
    assert kdf(key, data, 3) == expected
    assert kdf(key, data, 2) == expected[:2]
    assert kdf(key, data, 1) == expected[:1]


def test_the_constants_of_the_handshake():
    """As other implementations have them, computed beforehand (boringtun, INITIAL_CHAIN_KEY and _HASH)."""
    chain = hash_of(NAME)
    assert chain.hex() == "60e26daef327efc02ec335e2a025d2d016eb4206f87277f52d38d1988b78cd36"
    hashed = hash_of(chain + IDENTIFIER)
    assert hashed.hex() == "2211b361081ac566691243db458ad5322d9c6c662293e8b70ee19c65ba079ef3"
