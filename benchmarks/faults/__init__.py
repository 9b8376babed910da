"""Jobs under faults: processes killed, servers restarted, disks filled, clocks moved."""
