"""A handshake between two interfaces of the Linux kernel, captured by Peter Wu for Wireshark's dissector, and its keys.

No preshared key, no cookie.
"""

from mcpctld.protocols.wireguard.keys import decode_key

INITIATION = bytes.fromhex(
    "0100000015cf47c7744fc57d33642a1ca516fd8362a6fb908e4fdc046549d80f"
    "aaa3704b68c7cb73ac707e42e7636cfb87fd4d755d68694df1756fe4089a5740"
    "df7872310426d434ed384a753935198b277a6d865a4a597d1a159f8bea3e20b4"
    "465399fbe6f2602fa6b657a8896ad6443609cfd6d027f041b4cae1016f435157"
    "037f0ea900000000000000000000000000000000"
)
RESPONSE = bytes.fromhex(
    "0200000032fa1aac15cf47c7193cbb311b4132235fe178af862fc67d31122abc"
    "0f080efafc5ea27a9a94a10750f40920ef1786e049472e8b03595e65730b94f1"
    "3b49d294bf85f5cad7f6ef2800000000000000000000000000000000"
)
TIMESTAMP = bytes.fromhex("400000005a994d2c3b389469")
INITIATOR_INDEX, RESPONDER_INDEX = 0xC747CF15, 0xAC1AFA32

INITIATOR = decode_key("gBen0g0RVUOR4ehlFkWdDf18Ic//lxBIxa1PqvjTmEw=")
INITIATOR_EPHEMERAL = decode_key("wGygl2kFYdbJWIMtEmaSQAMONuX1+b2EZ9umhB6mCEo=")
INITIATOR_PUBLIC = decode_key("eKSmoueAzZ+0cLTiix9F+Hcu5X0VvTXlsNPGGwFwiS4=")
RESPONDER = decode_key("QChaGDXeH3eQsbFAhueUNWFdq9KfpF3yl+eITjZbXEk=")
RESPONDER_EPHEMERAL = decode_key("ELwhlhseNwg64Fos0qJhXbSVeBc2lYVkqdmkLx3rekg=")
RESPONDER_PUBLIC = decode_key("JRI8Xc0zKP9kXk8qP84NdUQA04h6DLfFbwJn4g+/PFs=")
