"""Sources of methods that count as an earlier one, because they give the same numbers.

Until version 0.1.0 a record held the hash of a method's whole file. Such a line keeps old and new
cells of a method together; a change that changes numbers takes the line out.
"""

SAME_AS = {
    # dsfl
    "ec7ca5aef186fdfe3192d28586bd1af81f42b9bb22d0ed5c974416bf613c487d": (
        "a9c850533275deba1754f2269b4cd327f2e48a69e324bd70801b89f791af2539"
    ),
    # dynafed
    "778d344abe070ebff152ceda069617ddd139b4e7fa1062f8018994d762c28757": (
        "f56d2cef3b7269fd88018239ebb39c1674c57afd551796aec4472544946ec7de"
    ),
    # fedavg
    "0dd877b61ecf254237b21ad65890ea028581259e4ae93ca7a6404278575d1660": (
        "86a0ba1eb61781fc055ee209d0986e9fc514f0ee70f1f608387c3bb5910b375a"
    ),
    # feddf
    "3ed971313ad4224374db70595882fc8625f74530f6181e789ac1ee39675dd58f": (
        "816c2f80f0edd3d1e95685984de9e37cb400c42296236ff52f31a138ab8ff0fd"
    ),
    # fedet
    "d9d7d7b067be096a80c5ad1223336ba37d7e3ef03fb18b8945e8bc7aefdd6e39": (
        "d098db8c5e4eea27f8c0244d47c582ecd8336679a92839c2347e2f52078e3f6b"
    ),
    # fedftg
    "30dbe7123775b1851f71e348076db07de47c4157157f9f52909072f22477aa5c": (
        "2f367b7f0371f933e5dcbf3328a95adaeb5f9d1d89ebbfa611311071cf71e049"
    ),
    # fedgen
    "62ef39193bdb4b822db17da666a0e7c3d9075877cb2ac84432248b1943f3ca1a": (
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
    "8f7275a6fb83e0647aa9b5e62a31a6e7873057c4db637af61534e8df5849b526": (
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
