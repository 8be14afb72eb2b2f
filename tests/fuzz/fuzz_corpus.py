"""Inputs that made dvt fail before it was fixed: the target of each and its bytes, as short as they get."""

CASES: list[tuple[str, bytes]] = [
    # RecursionError in sources.py _in_glob
    ("list", b"*.a" + b"/a" * 990),
    # ValueError in formats.py expand_home
    ("list", b"~\0"),
    # OverflowError in table.py _noise
    (
        "result",
        b'{"kind":"dvt evaluation","schema":3,"task":"","backbone":"","data":"","protocol":{"":3},"metric'
        b's":[{"name":"mIoU","unit":"","higher_is_better":true,"meaning":""},{"name":"accuracy","unit":""'
        b',"higher_is_better":null,"meaning":""}],"rows":{"raw":{"values":{"mIoU":[0,1e300],"accuracy":[n'
        b'ull]},"notes":[""],"details":{"":1},"passes":1,"seconds":5,"fingerprint":{"":""},"environment":'
        b'{"":""}},"":{"values":{"mIoU":[0.5],"accuracy":[null]},"notes":[""],"details":{"":1},"passes":1'
        b',"seconds":5,"fingerprint":{"":""},"environment":{"":""}}}}',
    ),
    # BadZipFile in read.py _is_torchscript
    (
        "archive",
        b"PK\x05\x06\x00\x00\x00\x00\x13\x00\x13\x00\xa2\x04\x00\x00\xb8\x0e\x00\x00\x00\x00",
    ),
    # UnicodeDecodeError in read.py _is_torchscript
    (
        "archive",
        b"PK\x01\x02\x00\x00\x00\x00\x08\x08\x00\x00\x00\x00\x00\x00\xb7\xef\xdc\x83\x01\x00\x00\x00\x01\x00\x00"
        b"\x00\x17\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00v\x01\x00\x00archive/.format_versionPK"
        b"\x01\x02\x00\x00\x00\x00\x08\x08\x00\x00\x00\x00\x00\x00?wq\xe9\x02\x00\x00\x00\x02\x00\x00\x00\x1a\x00"
        b"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xd1\x01\x00\x00ar\xffhive/.storage_alignmentPK\x01"
        b"\x02\x00\x00\x00\x00\x08\x08\x00\x00\x00\x00\x00\x00\x85=\xe3\x19\x06\x00\x00\x00\x06\x00\x00\x00\x11\x00"
        b"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00R\x02\x00\x00archive/byteorderPK\x01\x02\x00\x00\x00"
        b"\x00\x08\x08\x00\x00\x00\x00\x00\x00\x90Q\x06\xd5\x08\x00\x00\x00\x08\x00\x00\x00\x0e\x00\x00\x00\x00\x00"
        b"\x00\x00\x00\x00\x00\x00\x00\x00\xd6\x02\x00\x00archive/data/0PK\x01\x02\x00\x00\x00\x00\x08\x08\x00\x00"
        b"\x00\x00\x00\x00\x1c\xdfD!\x04\x00\x00\x00\x04\x00\x00\x00\x0e\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
        b"\x00\x00\x00X\x03\x00\x00archive/data/1PK\x01\x02\x00\x00\x00\x00\x08\x08\x00\x00\x00\x00\x00\x00\xd1\x9e"
        b"gU\x02\x00\x00\x00\x02\x00\x00\x00\x0f\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xd4\x03\x00"
        b"\x00archive/versionPK\x01\x02\x00\x00\x00\x00\x08\x08\x00\x00\x00\x00\x00\x00\x08\x7f\xdfX(\x00\x00\x00"
        b"(\x00\x00\x00\x1e\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00R\x04\x00\x00archive/.data/seria"
        b"liz\x00\x00\x00\x00\x00\x00\x1e\x03-\x00\x00\x00\x00\x00\x00\x00\x00\x00\x08\x00\x00\x00\x00\x00\x00\x00"
        b"\x08\x00\x00\x00\x00\x00\x00\x00\x0b\x02\x00\x00\x00\x00\x00\x00\xf8\x04\x00\x00\x00\x00\x00\x00PK\x06"
        b"\x07\x00\x00\x00\x00\x03\x07\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00PK\x05\x06\x00\x00\x00\x00\x08\x00"
        b"\x08\x00\x0b\x02\x00\x00\xf8\x04\x00\x00\x00\x00",
    ),
    # ValueError in hydra_app.py run_application
    (
        "command",
        b"\n=1",
    ),
    # RecursionError in info.py parse_config
    ("config", b"[" * 985),
    # RuntimeError in network.py __init__
    (
        "config",
        b'{"format":"dvt model","schema":1,"kind":"denoiser","backbone":"","backbone_weights_hash":"","layer":5'
        b',"norm":true,"grid":{"image_hw":[64,47483648], "patch": 16, "stride": 16}, "num_channels": 192, "arch'
        b'itecture": {"kind": "block", "num_blocks": 1, "position_embedding": true, "head_channels":25, "layers'
        b'": [], "mixing": "residual", "fine": 1}, "training": {"s": 3}, "metrics": {"ls": 5}, "base_license": '
        b'"a0", "code_version": "0", "weights_sha256": "e0e91bd57e4ae3fc0a4426e658bd23af16b6ef23e5827bbffa68053'
        b'224d7998e"}',
    ),
    # TypeError in folder.py read_model_folder
    (
        "config",
        b'{"format":"dvt model","schema":1,"kind":"fixed_size","backbone":"","backbone_weights_hash":"","layer"'
        b':5,"norm":true,"grid":{"image_hw":[64,64],"patch":16,"stride":6},"num_channels":2,"architecture":{"":'
        b'1},"training":{"":3},"metrics":{"":0},"base_license":"","code_version":"","weights_sha256":6}',
    ),
    # TypeError in network.py __init__
    (
        "config",
        b'{"format":"dvt model","schema":1,"kind":"denoiser","backbone":"","backbone_weights_hash":"","layer":5'
        b',"norm":true,"grid":{"image_hw":[9511627776,1099511627776],"patch":16,"stride":1},"num_channels":2,"a'
        b'rchitecture":{"kind":"block","num_blocks":1,"position_embedding":true,"head_channels":4,"mlp_ratio":5'
        b',"layers":[],"mixing":"residual","fine":1},"training":{"":3},"metrics":{"":0},"base_license":"","code'
        b'_version":"","weights_sha256":"e0e91bd57e4ae3fc0a4426e658bd23af16b6ef23e5827bbffa68053224d7998e"}',
    ),
    # DecompressionBombError in video.py is_video
    (
        "image",
        b"GIF89a\x00\x11\x00\x87\x00\xb4\xf0,\x01\x00\x00\x00!\xf9#\xaa",
    ),
    # IndexError in video.py is_video
    (
        "image",
        b"GIF89a\x18\x00\x11\x00\x87\x00\xc3\xff\xfd2\xb9\xf51\xb8\xf40\xb7\xf3/\xb6\xf2.\xb5\xf1-\xb4\xf0,\xb3\xef"
        b"+\xb2\xee*\xb1\xed)\xb0\xec(\xaf\xeb'\xae\xea&\xad\xe9%\xac\xe8$\xab\xe7#\xaa\xe6\"\xa9\xe5!\xa8\xe4 \xa7"
        b"\xe3\x1f\xa6\xe2\x1e\xa5\xe1\x1d\xa4\xe0\x1c\xa3\xdf\x1b\xa2\xde\x1a\xa1\xdd\x19\xa0\xdc\x18\x9f\xdb\x17"
        b"\x9e\xda\x16\x9d\xd9\x15\x9c\xd8\x14\x9b\xd7\x13\x9a\xd6\x12\x99\xd5\x11\x98\xd4\x10\x97\xd3\x0f\x96\xd2"
        b"\x0e\x95\xd1\r\x94\xd0\x0c\x93\xcf\x0b\x92\xce\n\x91\xcd\t\x90\xcc\x08\x8f\xcb\x07\x8e\xca\x06\x8d\xc9"
        b"\x05\x87\xc3\xff\x86\xc2\xfe\x85\xc1\xfd\x84\xc0\xfc\x83\xbf\xfb\x82\xbe\xfa\x81\xbd\xf9\x80\xbc\xf8\x7f"
        b"\xbb\xf7~\xba\xf6}\xb9\xf5|\xb8\xf4{\xb7\xf3z\xb6\xf2y\xb5\xf1x\xb4\xf0w\xb3\xefv\xb2\xeeu\xb1\xedt\xb0"
        b"\xecs\xaf\xebr\xae\xeaq\xad\xe9\x8c\xc8\x04\x8b\xc7\x03\x8a\xc6\x02\x89\xc5\x01\x88\xc4\x00p\xac\xe8o\xab"
        b"\xe7n\xaa\xe6m\xa9\xe5l\xa8\xe4k\xa7\xe3j\xa6\xe2i\xa5\xe1h\xa4\xe0g\xa3\xdff\xa2\xdee\xa1\xddd\xa0\xdcc"
        b"\x9f\xdbb\x9e\xdaa\x9d\xd9`\x9c\xd8_\x9b\xd7^\x9a\xd6]\x99\xd5\\\x98\xd4[\x97\xd3Z\x96\xd2Y\x95\xd1X\x94"
        b"\xd0W\x93\xcfV\x92\xceU\x91\xcdT\x90\xccS\x8f\xcbR\x8e\xcaQ\x8d\xc9P\x8c\xc8O\x8b\xc7N\x8a\xc6M\x89\xc5L"
        b"\x88\xc4K\x87\xc3J\x86\xc2I\x85\xc1H\x84\xc0G\x83\xbfF\x82\xbeE\x81\xbdD\x80\xbcC\x7f\xbbB~\xbaA}\xb9@|"
        b"\xb8?{\xb7>z\xb6=y\xb5<x\xb4;w\xb3:v\xb29u\xb18t\xb07s\xaf6r\xae5q\xad4p\xac3o\xab2n\xaa1m\xa90l\xa8/"
        b"k\xa7.j\xa6-i\xa5,h\xa4+g\xa3*f\xa2)e\xa1(d\xa0'c\x9f&b\x9e%a\x9d$`\x9c#_\x9b\"^\x9a!]\x99 \\\x98\x1f"
        b"[\x97\x1eZ\x96\x1dY\x95\x1cX\x94\x1bW\x93\x1aV\x92\x19U\x91\x18T\x90\x17S\x8f\x16R\x8e\x15Q\x8d\x14P\x8c"
        b"\x13O\x8b\x12N\x8a\x11M\x89\x10L\x88\x0fK\x87\x0eJ\x86\rI\x85\x0cH\x84\x0bG\x83\nF\x82\xff;w\xfe:v\xfd9u"
        b"\xfc8t\xfb7s\xfa6r\xf95q\xf84p\xf73o\xf62n\xf51m\xf40l\xf3/k\xf2.j\xf1-i\xf0,h\xef+g\xee*f\xed)e\xec("
        b"d\xeb'c\xea&b\xe9%a\xe8$`\xe7#_\xe6\"^\xe5!]\xe4 \\\xe3\x1f[\xe2\x1eZ\xe1\x1dY\xe0\x1cX\xdf\x1bW\xde"
        b"\x1aV\xdd\x19U\xdc\x18T\xdb\x17S\xda\x16R\xd9\x15Q\xd8\x14P\xd7\x13O\xd6\x12N\xd5\x11M\xd4\x10L\xd3\x0fK"
        b"\xd2\x0eJ\xd1\rI\xd0\x0cH\xcf\x0bG\xce\nF\xcd\tE\xcc\x08D\xcb\x07C\xca\x06B\xc9\x05A\xc8\x04@\xc7\x03?"
        b"\xc6\x02>\xc5\x01=\xc4\x00<\tE\x81\x08D\x80\x07C\x7f\x06B~\x05A}\x04@|\x03?{\x02>z\x01=y\x00<x!\xff"
        b"\x0bNETSCAPE2.0\x03\x01\x00\x00\x00!\xf9\x04\x00\x04\x00\x00\x00,\x00\x00\x00\x00\x18\x00\x11\x00\x00\x08"
        b"\xff\x00\xff\xd9\x8b\x85\xea\x93\xa5F\x84\xf6\xc8I\x03\xe6J\x12 7f\xa8\x08\x81\xe1\x81\x81y\xea\xf4\xd5b5"
        b"JS$D\x7f\xec\xb4!\xb3\xa5\t\x91\x1dN\\\x94\xe00AA\x00w\xe5r\xc1:\xe5\xa9\x12\xa3Az\xe2\xa0\xf9b\x05\xc9"
        b"\x0f)2R\x80\xb8\xe0\xa0\x80\xbct\xe0h\xad\x12\x95\t\xd2!?u\xd8\x8c\xd1\xc2d\x88\x0e\x1b-Hl\x90\x90\x00@;r"
        b'\xdb^\x99\xeaDi\x91\xa0<p\xcex\xa9r\xc4G\x94\x18(>Xh@ \x1e\xbao\xd6T\x85\xc2\xf4\xc8P\x1f:k\xc4dY"$G'
        b"\r\x16#4D@P\x8f\xdd8m\xd1Jq\x9a\xa4(\x10\x9e7f\xbaP1\xd2\x03\n\x8c\x13\x1e*0\x18\x00\xef\x9c\xb7j\xcc@"
        b"]rT\x88\xcf\x1c5a\xb0(\t\x82\x83\xc6\n\x11\x19 \x1c\xa0\xb7N\\6h\xc76IJ\x04\xe8\x8e\x9b2\\\xa6\x14\xe1"
        b"\xf1\xe4\x85\x89\x0e\x14\x16\x08xg\xae\x1b\xb5e\xc2\x0e&\\\xd8\xf0a\xc4\x89\x15/\xaa\x88\x0b\x87\xed\x99"
        b"\xb1^\x1fC\x8e,y2\xe5\xca\x96/\xcbq\x9b\xa6,\x98\xbf\x9b9w\xf6\xfc\x19th\xd1\xa3\xe0\\\xe3L1\xbc\xe4\xf3T"
        b"TSUuUV[u\xf5\xd56\xd2$\x03L?\xb8\x9c\x95\xd6Zm\xbd\x15\xd7\\u\xddeM3\xc4\xec\x82\xcf,\x7f\x056Xa\x87%"
        b"\xb6Xc\x8fE\x83\xcc/\xfc\xdc\xe2\xcae\x99m\xd6\xd9g\xa1\x8dV\xdai\xcc\x0c\xa3\xcb=\xb2\xa4\xf2Zl\xb3\xd5v"
        b"[n\xbb\xf5\xf6\xdb1\xbe\xeccK+\xa4\x04\x04\x00!",
    ),
    # MemoryError in read.py _open
    (
        "image",
        b"\x00\x00\x00\x0cjP  \r\n\x87\n\x00\x00\x00\x14ftypjp2 \x00\x00\x00\x00jp2 \xff\x00\x00Ojp2h",
    ),
    # UnnamedFileError in outside of dvt
    (
        "list",
        b"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
        b"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
        b"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
    ),
    # IndexError in grid.py of
    (
        "meta",
        b'{"kind":"dvt feature store","schema":2,"backbone":"","weights_hash":"","layer":5,"norm":true,"grid":{'
        b'"image_hw":[0],"patch":16,"stride":6},"channels":2,"solver":{"":"","":{"":8}},"quality":"","code_vers'
        b'ion":"","dtype":"","":["",""],"solver_sha256":"","":{"":[""],"":4}}',
    ),
    # RecursionError in schema.py from_json
    ("meta", b"[" * 983),
    # TypeError in schema.py from_json
    (
        "meta",
        b'{"kind":"dvt feature store","schema":1,"backbone":"","weights_hash":"","layer":5,"norm":true,"grid":{'
        b'"image_hw":[64,64],"patch":16,"stride":6},"channels":2,"solver":{"":"","":{"":8}},"quality":"","code_'
        b'version":"","dtype":"float16","arrays":["raw","clean"],"solver_sha256":2}',
    ),
    # AttributeError in table.py features_text
    (
        "result",
        b'{"kind":"dvt evaluation","schema":3,"task":"","backbone":"","data":"","protocol":{"":""},"metrics":[{'
        b'"name":"mIoU","unit":"","higher_is_better":true,"meaning":""},{"name":"accuracy","unit":"","higher_is'
        b'_better":1,"meaning":""}],"rows":{"raw":{"values":{"mIoU":[0.5],"accuracy":[null]},"notes":[""],"deta'
        b'ils":{"":1},"passes":1,"seconds":5,"fingerprint":[{"":""}],"environment":{"":""}},"":{"values":{"mIoU'
        b'":[5],"accuracy":[null]},"notes":[""],"details":{"":1},"passes":1,"seconds":2,"fingerprint":{"":""},"'
        b'environment":{"":""}}}}',
    ),
    # AttributeError in table.py protocol_text
    (
        "result",
        b'{"kind":"dvt evaluation","schema":3,"task":"","backbone":"","data":"","protocol":"","metrics":[{"name'
        b'":"mIoU","unit":"","higher_is_better":true,"meaning":""},{"name":"accuracy","unit":"","higher_is_bett'
        b'er":null,"meaning":""}],"rows":{"":{"values":{"mIoU":[5],"":[0.5],"accuracy":[null]},"notes":[""],"de'
        b'tails":{"":1},"passes":1,"seconds":5,"fingerprint":{},"environment":{"":""}}}}',
    ),
    # KeyError in result.py mean
    (
        "result",
        b'{"kind":"dvt evaluation","schema":3,"task":"","backbone":"","data":"","protocol":{"":3},"metrics":[{"'
        b'name":"","unit":"","higher_is_better":true,"meaning":""},{"name":"","unit":"","higher_is_better":null'
        b',"meaning":""}],"rows":{"":{"values":{"":[0.5],"":[null]},"notes":[""],"details":{"":1},"passes":1,"s'
        b'econds":2,"fingerprint":{"":""},"environment":{"":""}},"":{"values":{"U":[0.5]},"notes":[""],"details'
        b'":{"":1},"passes":1,"seconds":2,"fingerprint":{"":""},"environment":{"":""}}}}',
    ),
    # RecursionError in result.py from_json
    ("result", b"[" * 989),
    # TypeError in result.py mean
    (
        "result",
        b'{"kind":"dvt evaluation","schema":3,"task":"","backbone":"","data":"","protocol":{"":3},"metrics":[{"'
        b'name":"mIoU","unit":"","higher_is_better":true,"meaning":""},{"name":[""],"unit":"","higher_is_better'
        b'":null,"meaning":""}],"rows":{"":{"values":{"mIoU":[5],"":[null]},"notes":[""],"details":{"":1},"pass'
        b'es":1,"seconds":5,"fingerprint":{"":""},"environment":{"":""}},"d":{"values":{"":[null]},"notes":[""]'
        b',"details":{"":1},"passes":1,"seconds":5,"fingerprint":{},"environment":{"":""}}}}',
    ),
    # TypeError in result.py to_json
    (
        "result",
        b'{"kind":"dvt evaluation","schema":3,"task":"","backbone":"","data":"","protocol":{"":3},"metrics":[{"'
        b'name":"mIoU","unit":"","higher_is_better":true,"meaning":""},{"name":"accuracy","unit":"","higher_is_'
        b'better":null,"meaning":""}],"rows":{"":{"values":{"mIoU":[0,5],"":[0.5],"accuracy":[null]},"notes":["'
        b'"],"details":{"":1},"passes":1,"seconds":[],"fingerprint":{},"environment":{"":""}}}}',
    ),
    # TypeError in table.py notes
    (
        "result",
        b'{"kind":"dvt evaluation","schema":3,"task":"","backbone":"","data":"","protocol":{"":3},"metrics":[{"'
        b'name":"accuracy","unit":"","higher_is_better":null,"meaning":""}],"rows":{"w":{"values":{"":[0.5],"ac'
        b'curacy":[null]},"notes":[["","","","","",""]],"details":{"":1},"passes":1,"seconds":2,"fingerprint":{'
        b'"":""},"environment":{"":""}},"":{"values":{"":[],"accuracy":[null]},"notes":[""],"details":{"":1},"p'
        b'asses":1,"seconds":2,"fingerprint":{"":""},"environment":{"":""}}}}',
    ),
    # UnicodeEncodeError in store.py run
    (
        "sidecar",
        b'{"schema":1,"origin":{"backbone":"vit_micro_patch16_224.dvt","weights_hash":"ab12","layer":5,"norm":t'
        b'rue,"solver_sha256":"77874834fb52638595d39ae43ba511b77f77f100f1a99ec32c09461b9b98a7dd"},"file":"0of1-'
        b'000000-00000000.safetensors","num_bytes":8,"sha256":"","records":[{"key":"g","arrays":{"":{"dtype":""'
        b',"shape":[],"begin":6,"end":0},"\\ud800":{"dtype":"","shape":[""],"begin":2,"end":6}},"digest":""},{"'
        b'key":"","arrays":{"":{"dtype":"","shape":[],"begin":4,"end":8},"":{"dtype":"","shape":[],"begin":6,"e'
        b'nd":4}},"digest":""}],"":""}',
    ),
    # UnnamedFileError in outside of dvt
    (
        "sidecar",
        b'{"schema":4,"":{"":"","":"","":5,"":""},"":"","":[{"":{"":{"":"","":[],"":0},"":{"":"","":[],"":2,"":'
        b'6}},"":""},{"":"","":{"":{"":8},"":{"":"","":[],"":1}},"":""}],"":""}',
    ),
]
