"""Sources of methods that count as an earlier one, because they give the same numbers.

Until version 0.1.0 a record held the hash of a method's whole file. Such a line keeps old and new
cells of a method together; a change that changes numbers takes the line out.
"""

SAME_AS = {
    # dsfl
    "c068a9b8a0d07455f727540990a26d8f7b4de69994abb22c7f5ee6b4a072e3ad": (
        "a9c850533275deba1754f2269b4cd327f2e48a69e324bd70801b89f791af2539"
    ),
    # dynafed
    "8ad5eae6ebddb0addc41879c0ef6fc049af3cde6182eaeecf634673cd5a6f10b": (
        "f56d2cef3b7269fd88018239ebb39c1674c57afd551796aec4472544946ec7de"
    ),
    # fedavg
    "0dd877b61ecf254237b21ad65890ea028581259e4ae93ca7a6404278575d1660": (
        "86a0ba1eb61781fc055ee209d0986e9fc514f0ee70f1f608387c3bb5910b375a"
    ),
    # feddf
    "50a69fbf2fcc2b0cbb1328ea00d0a18a901256c718a1d8c01f662a443e703cdc": (
        "816c2f80f0edd3d1e95685984de9e37cb400c42296236ff52f31a138ab8ff0fd"
    ),
    # fedet
    "d9d7d7b067be096a80c5ad1223336ba37d7e3ef03fb18b8945e8bc7aefdd6e39": (
        "d098db8c5e4eea27f8c0244d47c582ecd8336679a92839c2347e2f52078e3f6b"
    ),
    # fedftg
    "f41f8414b580511590885dfae13e22d86d3dc0acbf3d8a5805f09deed9aa7f93": (
        "2f367b7f0371f933e5dcbf3328a95adaeb5f9d1d89ebbfa611311071cf71e049"
    ),
    # fedgen
    "0f8508c170ee1a6bc84c941cfcf4e82b26507d16e101f523e457073e61d4a8dc": (
        "cf83c99872502c3c523f5bc2019272e73db8b2ab4b57cd02448213abac48b445"
    ),
    # fedopt
    "f4ccaa7183dc02e9eb9c4c496118ac51258db5a5afba3f77633e128591319da8": (
        "30005f1e3f1c2537c0f02a5c97cef727a83ad7f399f282b80b9b7e2e5d70031d"
    ),
    # fedprox
    "5ae89e17dad12fb734854036ff696bf19f6b10cb4a60dcad6f81acd179a3b2c9": (
        "03fa5d190a8528cadf0d0086476f53c6e984d57d51cb213a85d21bc8727284d9"
    ),
    # gptfl
    "994bb707fadbd48d2087d7b5284852c9152a8490c59873bd17c5453f3bc0df39": (
        "153cd6223afd032bbc17b530bd165bbcce94658539eab75adb51b9232510234d"
    ),
    # moon
    "44f53f192ec19928bdccff8cd2bdc8c2a6189d0994fd8220681abf970723b3f3": (
        "78a88816bb571e99ae00a6ec21432a356889c250bc0bea59953ea0771698ebd4"
    ),
    # scaffold
    "fe00f201ce965b6368efe2e2b730b366057fa5c93c829ba362ac77e05c6d32c1": (
        "af5b93e225504f8649df72ed92e4cca89ad6f918ba225544ab2157ebf2139d43"
    ),
}
"""The hash that records hold, by the hash of today's source."""
