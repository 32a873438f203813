"""Linux's system calls in four groups: allowed, conditional, refused and deadly; (x86_64 number, aarch64 number).

None: the machine has no such call. The numbers are from the kernel's tables: arch/x86/entry/syscalls and
include/uapi/asm-generic/unistd.h. A call in no group fails with ENOSYS, as on a kernel without it.
"""

Numbers = tuple[int | None, int | None]

ORDINARY: dict[str, Numbers] = {
    "accept": (43, 202), "accept4": (288, 242), "access": (21, None), "alarm": (37, None),
    "arch_prctl": (158, None), "bind": (49, 200), "brk": (12, 214), "capget": (125, 90), "chdir": (80, 49),
    "clock_getres": (229, 114), "clock_gettime": (228, 113), "clock_nanosleep": (230, 115), "close": (3, 57),
    "close_range": (436, 436), "connect": (42, 203), "copy_file_range": (326, 285), "creat": (85, None),
    "dup": (32, 23), "dup2": (33, None), "dup3": (292, 24), "epoll_create": (213, None),
    "epoll_create1": (291, 20), "epoll_ctl": (233, 21), "epoll_pwait": (281, 22), "epoll_pwait2": (441, 441),
    "epoll_wait": (232, None), "eventfd": (284, None), "eventfd2": (290, 19), "execve": (59, 221),
    "execveat": (322, 281), "exit": (60, 93), "exit_group": (231, 94), "faccessat": (269, 48),
    "faccessat2": (439, 439), "fadvise64": (221, 223), "fallocate": (285, 47), "fchdir": (81, 50),
    "fdatasync": (75, 83), "fgetxattr": (193, 10), "flistxattr": (196, 13), "flock": (73, 32), "fork": (57, None),
    "fstat": (5, 80), "fstatfs": (138, 44), "fsync": (74, 82), "ftruncate": (77, 46), "futex": (202, 98),
    "futex_requeue": (456, 456), "futex_wait": (455, 455), "futex_waitv": (449, 449), "futex_wake": (454, 454),
    "getcpu": (309, 168), "getcwd": (79, 17), "getdents": (78, None), "getdents64": (217, 61),
    "getegid": (108, 177), "geteuid": (107, 175), "getgid": (104, 176), "getgroups": (115, 158),
    "getitimer": (36, 102), "getpeername": (52, 205), "getpgid": (121, 155), "getpgrp": (111, None),
    "getpid": (39, 172), "getppid": (110, 173), "getpriority": (140, 141), "getrandom": (318, 278),
    "getresgid": (120, 150), "getresuid": (118, 148), "getrlimit": (97, 163), "getrusage": (98, 165),
    "getsid": (124, 156), "getsockname": (51, 204), "getsockopt": (55, 209), "gettid": (186, 178),
    "gettimeofday": (96, 169), "getuid": (102, 174), "getxattr": (191, 8), "ioprio_get": (252, 31),
    "lgetxattr": (192, 9), "link": (86, None), "linkat": (265, 37), "listen": (50, 201), "listxattr": (194, 11),
    "llistxattr": (195, 12), "lseek": (8, 62), "lstat": (6, None), "madvise": (28, 233), "membarrier": (324, 283),
    "mincore": (27, 232), "mkdir": (83, None), "mkdirat": (258, 34), "mprotect": (10, 226), "mremap": (25, 216),
    "mseal": (462, 462), "msync": (26, 227), "munmap": (11, 215), "nanosleep": (35, 101), "newfstatat": (262, 79),
    "open": (2, None), "openat": (257, 56), "openat2": (437, 437), "pause": (34, None), "pidfd_open": (434, 434),
    "pipe": (22, None), "pipe2": (293, 59), "poll": (7, None), "ppoll": (271, 73), "pread64": (17, 67),
    "preadv": (295, 69), "preadv2": (327, 286), "pselect6": (270, 72), "pwrite64": (18, 68), "pwritev": (296, 70),
    "pwritev2": (328, 287), "read": (0, 63), "readahead": (187, 213), "readlink": (89, None),
    "readlinkat": (267, 78), "readv": (19, 65), "recvfrom": (45, 207), "recvmmsg": (299, 243),
    "recvmsg": (47, 212), "rename": (82, None), "renameat": (264, 38), "renameat2": (316, 276),
    "restart_syscall": (219, 128), "rmdir": (84, None), "rseq": (334, 293), "rt_sigaction": (13, 134),
    "rt_sigpending": (127, 136), "rt_sigprocmask": (14, 135), "rt_sigreturn": (15, 139),
    "rt_sigsuspend": (130, 133), "rt_sigtimedwait": (128, 137), "sched_get_priority_max": (146, 125),
    "sched_get_priority_min": (147, 126), "sched_getaffinity": (204, 123), "sched_getattr": (315, 275),
    "sched_getparam": (143, 121), "sched_getscheduler": (145, 120), "sched_rr_get_interval": (148, 127),
    "sched_yield": (24, 124), "select": (23, None), "sendfile": (40, 71),
    "set_robust_list": (273, 99), "set_tid_address": (218, 96), "setfsgid": (123, 152), "setfsuid": (122, 151),
    "setgid": (106, 144), "setgroups": (116, 159), "setitimer": (38, 103), "setpgid": (109, 154),
    "setregid": (114, 143), "setresgid": (119, 149), "setresuid": (117, 147), "setreuid": (113, 145),
    "setrlimit": (160, 164), "setsid": (112, 157), "setsockopt": (54, 208), "setuid": (105, 146),
    "shutdown": (48, 210), "sigaltstack": (131, 132), "signalfd": (282, None), "signalfd4": (289, 74),
    "stat": (4, None), "statfs": (137, 43), "statx": (332, 291), "symlink": (88, None), "symlinkat": (266, 36),
    "sysinfo": (99, 179), "time": (201, None), "timer_create": (222, 107), "timer_delete": (226, 111),
    "timer_getoverrun": (225, 109), "timer_gettime": (224, 108), "timer_settime": (223, 110),
    "timerfd_create": (283, 85), "timerfd_gettime": (287, 87), "timerfd_settime": (286, 86), "times": (100, 153),
    "umask": (95, 166), "uname": (63, 160), "unlink": (87, None), "unlinkat": (263, 35), "vfork": (58, None),
    "wait4": (61, 260), "waitid": (247, 95), "write": (1, 64), "writev": (20, 66),
}  # fmt: skip
"""Files, processes, time and waiting: what Python, pytest, coverage, ruff and bandit need."""

CONDITIONAL: dict[str, Numbers] = {
    "chmod": (90, None), "chown": (92, None), "clone": (56, 220), "clone3": (435, 435), "fchmod": (91, 52),
    "fchmodat": (268, 53), "fchmodat2": (452, 452), "fchown": (93, 55), "fchownat": (260, 54), "fcntl": (72, 25),
    "fremovexattr": (199, 16), "fsetxattr": (190, 7), "futimesat": (261, None), "ioctl": (16, 29),
    "ioprio_set": (251, 30), "kill": (62, 129), "lchown": (94, None), "lremovexattr": (198, 15),
    "lsetxattr": (189, 6), "mknod": (133, None), "mknodat": (259, 33), "mmap": (9, 222),
    "pidfd_send_signal": (424, 424), "prctl": (157, 167), "prlimit64": (302, 261), "removexattr": (197, 14),
    "removexattrat": (466, 466), "rt_sigqueueinfo": (129, 138), "rt_tgsigqueueinfo": (297, 240),
    "sched_setaffinity": (203, 122), "sched_setattr": (314, 274), "sched_setparam": (142, 118),
    "sched_setscheduler": (144, 119), "sendmmsg": (307, 269), "sendmsg": (46, 211), "sendto": (44, 206),
    "setpriority": (141, 140),
    "setxattr": (188, 5), "setxattrat": (463, 463), "socket": (41, 198), "socketpair": (53, 199),
    "tgkill": (234, 131), "tkill": (200, 130), "truncate": (76, 45), "utime": (132, None), "utimensat": (280, 88),
    "utimes": (235, None),
}  # fmt: skip
"""Calls that are allowed with some arguments only: see seccomp.py."""

REFUSED: dict[str, Numbers] = {
    "add_key": (248, 217), "adjtimex": (159, 171), "capset": (126, 91), "chroot": (161, 51),
    "clock_adjtime": (305, 266), "clock_settime": (227, 112), "fanotify_init": (300, 262),
    "fanotify_mark": (301, 263), "file_setattr": (469, 469), "fsconfig": (431, 431), "fsmount": (432, 432),
    "fsopen": (430, 430), "fspick": (433, 433), "get_robust_list": (274, 100), "inotify_add_watch": (254, 27),
    "inotify_init": (253, None), "inotify_init1": (294, 26), "inotify_rm_watch": (255, 28), "io_setup": (206, 0),
    "io_submit": (209, 2), "io_uring_enter": (426, 426), "io_uring_register": (427, 427),
    "io_uring_setup": (425, 425), "kcmp": (312, 272), "keyctl": (250, 219), "landlock_add_rule": (445, 445),
    "landlock_create_ruleset": (444, 444), "landlock_restrict_self": (446, 446), "listmount": (458, 458),
    "lookup_dcookie": (212, 18), "lsm_set_self_attr": (460, 460), "mbind": (237, 235), "memfd_create": (319, 279),
    "memfd_secret": (447, 447), "migrate_pages": (256, 238), "mlock": (149, 228), "mlock2": (325, 284),
    "mlockall": (151, 230), "mount": (165, 40), "mount_setattr": (442, 442), "move_mount": (429, 429),
    "move_pages": (279, 239), "mq_open": (240, 180), "mq_unlink": (241, 181), "msgget": (68, 186),
    "msgsnd": (69, 189), "name_to_handle_at": (303, 264), "nfsservctl": (180, 42), "open_tree": (428, 428),
    "open_tree_attr": (467, 467), "perf_event_open": (298, 241), "personality": (135, 92),
    "pidfd_getfd": (438, 438), "pivot_root": (155, 41), "process_madvise": (440, 440),
    "process_mrelease": (448, 448), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271),
    "ptrace": (101, 117), "quotactl": (179, 60), "quotactl_fd": (443, 443), "remap_file_pages": (216, 234),
    "request_key": (249, 218), "seccomp": (317, 277), "semget": (64, 190), "semop": (65, 193),
    "set_mempolicy": (238, 237), "setdomainname": (171, 162), "sethostname": (170, 161), "setns": (308, 268),
    "settimeofday": (164, 170), "shmat": (30, 196), "shmctl": (31, 195), "shmget": (29, 194), "splice": (275, 76),
    "statmount": (457, 457), "sync": (162, 81), "syncfs": (306, 267), "syslog": (103, 116), "tee": (276, 77),
    "umount2": (166, 39), "unshare": (272, 97), "uselib": (134, None), "userfaultfd": (323, 282),
    "vhangup": (153, 58), "vmsplice": (278, 75),
}  # fmt: skip
"""Calls that read other processes or file events, change the machine, or allocate memory that is not counted."""

DEADLY: dict[str, Numbers] = {
    "acct": (163, 89), "bpf": (321, 280), "delete_module": (176, 106), "finit_module": (313, 273),
    "init_module": (175, 105), "ioperm": (173, None), "iopl": (172, None), "kexec_file_load": (320, 294),
    "kexec_load": (246, 104), "modify_ldt": (154, None), "open_by_handle_at": (304, 265), "reboot": (169, 142),
    "swapoff": (168, 225), "swapon": (167, 224),
}  # fmt: skip
"""Calls that only an attack makes: they kill the process."""

NUMBERS: dict[str, Numbers] = {**ORDINARY, **CONDITIONAL, **REFUSED, **DEADLY}
