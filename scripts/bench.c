// The other side of scripts/bench: the child that writes, and the tight read loop to compare with.
//
//   bench write BYTES          80-column text to stdout, in blocks of 64 KB
//   bench timed BYTES FILE [stay | go]
//                              the same without output processing and echo, with `go` once a line
//                              was read; then when it began and ended to FILE, in seconds of the
//                              monotonic clock; told `stay` or `go`, it then waits for ever
//   bench flood                text without end
//   bench echo FILE            what is typed comes back, byte for byte; from when on to FILE
//   bench stamp FILE           when it began to FILE; then it waits for ever
//   bench drain COUNT CMD...   CMD on each of COUNT PTYs, output processing and echo off, read and
//                              discarded by one thread; prints bytes, seconds and CPU seconds, from
//                              before the first spawn to the end of the last output
//   bench relay BYTES CMD...   CMD on a PTY, sent a line; so much output over a socket to another
//                              process; prints bytes and when the last of them was there

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pty.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>
#include <utmp.h>

enum { MOST = 64, COLUMNS = 80, BLOCK = 819 * COLUMNS, ROOM = 64 * 1024 };

static char room[ROOM];

static void die(const char *what) {
    fprintf(stderr, "bench: %s: %s\n", what, strerror(errno));
    exit(1);
}

static int write_text(long long left) {
    static char block[BLOCK];
    for (int i = 0; i < BLOCK; i++)
        block[i] = i % COLUMNS == COLUMNS - 1 ? '\n' : 'a' + i % 26;
    while (left > 0) {
        ssize_t wrote = write(STDOUT_FILENO, block, left < BLOCK ? left : BLOCK);
        if (wrote < 0)
            die("write");
        left -= wrote;
    }
    return 0;
}

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec / 1e9;
}

static void report(const char *path, double first, double second) {
    char line[64];
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    int size = snprintf(line, sizeof line, "%.6f %.6f\n", first, second);
    if (fd < 0 || write(fd, line, size) != size)
        die(path);
    close(fd);
}

static void set_raw(int input) {
    struct termios modes;
    if (tcgetattr(STDOUT_FILENO, &modes))
        die("tcgetattr");
    modes.c_oflag &= ~OPOST;
    modes.c_lflag &= ~ECHO;
    if (input)
        cfmakeraw(&modes);
    if (tcsetattr(STDOUT_FILENO, TCSANOW, &modes))
        die("tcsetattr");
}

static int write_timed(long long size, const char *path, const char *then) {
    set_raw(0);
    if (!strcmp(then, "go") && read(STDIN_FILENO, room, ROOM) <= 0)
        die("read");
    double began = now();
    write_text(size);
    report(path, began, now());
    if (*then)  // the end of the text is not to be that of the terminal
        pause();
    return 0;
}

static int echo(const char *path) {
    ssize_t got;
    set_raw(1);
    report(path, now(), now());
    while ((got = read(STDIN_FILENO, room, ROOM)) > 0)
        if (write(STDOUT_FILENO, room, got) != got)
            die("write");
    return 0;
}

// Close-on-exec: a later child that kept a master open would keep its slave from hanging up.
static int spawn(char **command) {
    int master, slave;
    struct termios modes;
    if (openpty(&master, &slave, NULL, NULL, NULL) || fcntl(master, F_SETFD, FD_CLOEXEC))
        die("openpty");
    if (tcgetattr(slave, &modes))
        die("tcgetattr");
    modes.c_oflag &= ~OPOST;
    modes.c_lflag &= ~ECHO;
    if (tcsetattr(slave, TCSANOW, &modes))
        die("tcsetattr");
    pid_t child = fork();
    if (child < 0)
        die("fork");
    if (child == 0) {
        if (login_tty(slave) == 0)
            execv(command[0], command);
        _exit(127);
    }
    close(slave);
    return master;
}

static long long drain_one(int master) {
    long long total = 0;
    ssize_t got;
    while ((got = read(master, room, ROOM)) > 0)
        total += got;
    return total;
}

static long long drain_many(const int *masters, int count) {
    long long total = 0;
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    if (epoll < 0)
        die("epoll");
    for (int i = 0; i < count; i++) {
        struct epoll_event event = {.events = EPOLLIN, .data.fd = masters[i]};
        if (epoll_ctl(epoll, EPOLL_CTL_ADD, masters[i], &event))
            die("epoll");
    }
    for (int open = count; open > 0;) {
        struct epoll_event events[MOST];
        int ready = epoll_wait(epoll, events, MOST, -1);
        for (int i = 0; i < ready; i++) {
            ssize_t got = read(events[i].data.fd, room, ROOM);
            if (got > 0) {
                total += got;
            } else {  // EIO, a level: it would be reported for ever
                epoll_ctl(epoll, EPOLL_CTL_DEL, events[i].data.fd, NULL);
                open--;
            }
        }
    }
    return total;
}

static double cpu(void) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_utime.tv_sec + usage.ru_stime.tv_sec +
           (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static int drain(int count, char **command) {
    int masters[MOST];
    double cpu_before = cpu(), before = now();
    for (int i = 0; i < count; i++)
        masters[i] = spawn(command);
    long long total = count == 1 ? drain_one(masters[0]) : drain_many(masters, count);
    printf("%lld %.6f %.6f\n", total, now() - before, cpu() - cpu_before);
    while (wait(NULL) > 0)
        ;
    return 0;
}

static int count_all(int socket, long long size) {
    long long total = 0;
    ssize_t got;
    while (total < size && (got = read(socket, room, ROOM)) > 0)
        total += got;
    printf("%lld %.6f\n", total, now());
    return 0;
}

static int relay(long long size, char **command) {
    int ends[2], master = spawn(command);
    long long total = 0;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends))
        die("socketpair");
    pid_t reader = fork();
    if (reader < 0)
        die("fork");
    if (reader == 0) {
        close(ends[0]);
        return count_all(ends[1], size);
    }
    close(ends[1]);
    if (write(master, "\n", 1) != 1)
        die("write");
    while (total < size) {
        ssize_t got = read(master, room, ROOM);
        if (got <= 0 || write(ends[0], room, got) != got)
            die("relay");
        total += got;
    }
    waitpid(reader, NULL, 0);
    return 0;  // the terminal hangs up, and its child with it
}

int main(int argc, char **argv) {
    if (argc == 3 && !strcmp(argv[1], "write"))
        return write_text(atoll(argv[2]));
    if ((argc == 4 || argc == 5) && !strcmp(argv[1], "timed"))
        return write_timed(atoll(argv[2]), argv[3], argc == 5 ? argv[4] : "");
    if (argc == 2 && !strcmp(argv[1], "flood"))
        return write_text(1LL << 62);
    if (argc == 3 && !strcmp(argv[1], "echo"))
        return echo(argv[2]);
    if (argc == 3 && !strcmp(argv[1], "stamp")) {
        double began = now();
        report(argv[2], began, began);
        return pause();
    }
    if (argc > 3 && !strcmp(argv[1], "relay"))
        return relay(atoll(argv[2]), argv + 3);
    if (argc > 3 && !strcmp(argv[1], "drain")) {
        int count = atoi(argv[2]);
        if (count >= 1 && count <= MOST)
            return drain(count, argv + 3);
    }
    fprintf(stderr, "usage: see the head of bench.c\n");
    return 2;
}
