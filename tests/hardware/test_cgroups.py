"""Memory and CPU limits, read from faked control groups."""

import pytest

from workbench.hardware import cgroup_cores, cgroup_memory


def write(root, files):
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_cgroup_v2_takes_the_tightest_level(tmp_path):
    write(
        tmp_path,
        {
            "proc": "0::/user/session/job\n",
            "fs/user/session/job/memory.max": "max\n",
            "fs/user/session/memory.max": "4000\n",
            "fs/user/session/memory.current": "3000\n",
            "fs/user/session/memory.stat": "anon 1\ninactive_file 500\n",
            "fs/user/memory.max": "5000\n",
            "fs/user/memory.current": "4900\n",
            "fs/other/memory.max": "1\n",
            "fs/user/session/job/cpu.max": "max 100000\n",
            "fs/user/session/cpu.max": "150000 100000\n",
            "fs/user/cpu.max": "400000 100000\n",
        },
    )
    assert cgroup_memory(tmp_path / "proc", tmp_path / "fs") == (4000, 100)
    assert cgroup_cores(tmp_path / "proc", tmp_path / "fs") == 1.5


def test_page_cache_counts_as_headroom(tmp_path):
    write(
        tmp_path,
        {"proc": "0::/\n", "memory.max": "4000", "memory.current": "3000", "memory.stat": "inactive_file 500\n"},
    )
    assert cgroup_memory(tmp_path / "proc", tmp_path) == (4000, 1500)


@pytest.mark.parametrize("path", ["/docker/abc", "/../elsewhere"])
def test_a_container_sees_only_its_root(tmp_path, path):
    write(tmp_path, {"proc": f"0::{path}\n", "fs/memory.max": "4000", "fs/memory.current": "5000", "memory.max": "1"})
    assert cgroup_memory(tmp_path / "proc", tmp_path / "fs") == (4000, 0)


def test_cgroup_v1(tmp_path):
    write(
        tmp_path,
        {
            "proc": "9:name=systemd:/\n4:memory:/a/b\n3:cpu,cpuacct:/a\n0::/\n",
            "memory/a/b/memory.limit_in_bytes": "9223372036854771712\n",
            "memory/a/memory.limit_in_bytes": "7000\n",
            "memory/a/memory.usage_in_bytes": "2000\n",
            "memory/a/memory.stat": "inactive_file 1\ntotal_inactive_file 300\n",
            "cpu/a/cpu.cfs_quota_us": "250000\n",
            "cpu/a/cpu.cfs_period_us": "100000\n",
            "cpu/cpu.cfs_quota_us": "-1\n",
            "cpu/cpu.cfs_period_us": "100000\n",
        },
    )
    assert cgroup_memory(tmp_path / "proc", tmp_path) == (7000, 5300)
    assert cgroup_cores(tmp_path / "proc", tmp_path) == 2.5


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"proc": ""},
        {"proc": "0::/a\n"},
        {"proc": "0::/\n", "memory.max": "max", "cpu.max": "max 100000"},
        {"proc": "4:memory:/\n", "memory/memory.limit_in_bytes": "9223372036854771712"},
    ],
)
def test_no_limit(tmp_path, files):
    write(tmp_path, files)
    assert cgroup_memory(tmp_path / "proc", tmp_path) == (None, None)
    assert cgroup_cores(tmp_path / "proc", tmp_path) is None
