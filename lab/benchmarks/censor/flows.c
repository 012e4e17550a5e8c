/* Traffic for `sidedoor bench censor`: flows that start with a TLS ClientHello, through a router to a server.
 *
 *   flows server ADDRESS PORT...
 *       listen, print "listening", serve until standard input ends
 *   flows open ADDRESS PORT HELLO AT_ONCE FLOWS_PER_SECOND SECONDS
 *       flow after flow: connect, send HELLO, receive one byte, close. AT_ONCE are under way (the most that may be);
 *       FLOWS_PER_SECOND 0: each next one begins when one has ended, else they begin at that rate
 *   flows bulk ADDRESS PORT HELLO CONNECTIONS SECONDS
 *       send HELLO, then receive for as long as it goes
 *
 * HELLO is a file with a ClientHello. The first byte of its random says what the server does once it has all of it:
 * 'o' answers one byte, 'b' sends without end. The clients count after a tenth of SECONDS and print one line of JSON.
 * `open` counts the flows that ended then; a latency is the time from sending HELLO to the first byte of the answer;
 * waiting_seconds is how long the oldest flow has had no answer at the end.
 *
 * Neither end copies bulk: the server sends a memory file, the client has the kernel discard (MSG_TRUNC of tcp(7)).
 * The client closes first and has the TIME_WAIT; net.ipv4.tcp_tw_reuse is for it.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

enum { HELLO = 16 * 1024 + 5, CHUNK = 1 << 20, EVENTS = 256, MODE_AT = 11, MOST_LATENCIES = 1 << 22 };
enum state { FREE, LISTENING, HEARING, ANSWERED, SENDING, CONNECTING, WAITING, RECEIVING };

struct conn {
    enum state state;
    char mode;
    int heard, hello; /* bytes so far, and of the whole record once its header has come */
    unsigned char head[MODE_AT + 1];
    double sent;
};

static struct conn *conns; /* by descriptor */
static int most_fds, poller;
static char buffer[HELLO];

static void die(const char *what) {
    fprintf(stderr, "flows: %s: %s\n", what, strerror(errno));
    exit(1);
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static void watch(int fd, uint32_t events, int operation) {
    struct epoll_event event = {.events = events, .data.fd = fd};
    if (epoll_ctl(poller, operation, fd, &event) < 0) die("epoll_ctl");
}

static struct sockaddr_storage endpoint(const char *address, int port, socklen_t *size) {
    struct sockaddr_storage made = {0};
    struct sockaddr_in *four = (struct sockaddr_in *)&made;
    struct sockaddr_in6 *six = (struct sockaddr_in6 *)&made;
    if (inet_pton(AF_INET, address, &four->sin_addr) == 1) {
        four->sin_family = AF_INET, four->sin_port = htons(port), *size = sizeof *four;
    } else if (inet_pton(AF_INET6, address, &six->sin6_addr) == 1) {
        six->sin6_family = AF_INET6, six->sin6_port = htons(port), *size = sizeof *six;
    } else {
        errno = EINVAL;
        die(address);
    }
    return made;
}

static void drop(int fd) {
    conns[fd].state = FREE;
    close(fd);
}

/* ---- server ---- */

static int pages; /* the memory file that is sent */

static void server_hear(int fd) {
    struct conn *c = &conns[fd];
    ssize_t n = recv(fd, buffer, sizeof buffer, 0);
    if (n <= 0) {
        if (n == 0 || errno != EAGAIN) drop(fd);
        return;
    }
    for (int i = 0; i < n && c->heard + i < (int)sizeof c->head; i++) c->head[c->heard + i] = buffer[i];
    c->heard += n;
    if (c->heard < (int)sizeof c->head || c->heard < 5 + (c->head[3] << 8 | c->head[4])) return;
    if (c->head[MODE_AT] == 'b') {
        c->state = SENDING;
        watch(fd, EPOLLIN | EPOLLOUT, EPOLL_CTL_MOD);
    } else {
        c->state = ANSWERED;
        send(fd, "o", 1, MSG_NOSIGNAL);
    }
}

static void server_event(int fd, uint32_t events) {
    if (conns[fd].state == HEARING) {
        server_hear(fd);
    } else if (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
        drop(fd); /* the client says nothing more: this is its end */
    } else {
        off_t from = 0;
        if (sendfile(fd, pages, &from, CHUNK) < 0 && errno != EAGAIN) drop(fd);
    }
}

static void server_accept(int listener) {
    int fd, one = 1;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        if (fd >= most_fds) {
            close(fd);
            continue;
        }
        conns[fd] = (struct conn){.state = HEARING};
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        watch(fd, EPOLLIN, EPOLL_CTL_ADD);
    }
}

static void server(const char *address, int count, char **ports) {
    pages = memfd_create("bulk", 0);
    if (pages < 0 || ftruncate(pages, CHUNK) < 0) die("memfd_create");
    for (int i = 0; i < count; i++) {
        socklen_t size;
        struct sockaddr_storage at = endpoint(address, atoi(ports[i]), &size);
        int fd = socket(at.ss_family, SOCK_STREAM | SOCK_NONBLOCK, 0), one = 1;
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
        if (bind(fd, (struct sockaddr *)&at, size) < 0 || listen(fd, 4096) < 0) die("listen");
        conns[fd].state = LISTENING;
        watch(fd, EPOLLIN, EPOLL_CTL_ADD);
    }
    watch(0, EPOLLIN, EPOLL_CTL_ADD);
    puts("listening");
    fflush(stdout);
    struct epoll_event ready[EVENTS];
    for (;;) {
        int n = epoll_wait(poller, ready, EVENTS, -1);
        for (int i = 0; i < n; i++) {
            int fd = ready[i].data.fd;
            if (fd == 0) return;
            if (conns[fd].state == LISTENING)
                server_accept(fd);
            else if (conns[fd].state != FREE)
                server_event(fd, ready[i].events);
        }
    }
}

/* ---- clients ---- */

static struct sockaddr_storage there;
static socklen_t there_size;
static char hello[HELLO];
static ssize_t hello_bytes;
static int bulk, under_way;
static uint64_t bytes, ended, failures, late;
static float *latencies;

static void client_open(void) {
    int fd = socket(there.ss_family, SOCK_STREAM | SOCK_NONBLOCK, 0), one = 1;
    if (fd < 0 || fd >= most_fds) die("socket");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (connect(fd, (struct sockaddr *)&there, there_size) < 0 && errno != EINPROGRESS) die("connect");
    conns[fd] = (struct conn){.state = CONNECTING, .sent = now()};
    under_way++;
    watch(fd, EPOLLOUT, EPOLL_CTL_ADD);
}

static void client_end(int fd, int failed) {
    failures += failed;
    under_way--;
    drop(fd);
}

static void client_event(int fd) {
    struct conn *c = &conns[fd];
    if (c->state == CONNECTING) {
        c->sent = now();
        if (send(fd, hello, hello_bytes, MSG_NOSIGNAL) != hello_bytes) {
            client_end(fd, 1);
            return;
        }
        c->state = WAITING;
        watch(fd, EPOLLIN, EPOLL_CTL_MOD);
        return;
    }
    ssize_t n = recv(fd, buffer, bulk ? CHUNK : 1, bulk ? MSG_TRUNC : 0);
    if (n < 0 && errno == EAGAIN) return;
    if (n <= 0) {
        client_end(fd, 1);
    } else if (bulk) {
        c->state = RECEIVING;
        bytes += n;
    } else {
        if (ended < MOST_LATENCIES) latencies[ended] = now() - c->sent;
        ended++;
        client_end(fd, 0);
    }
}

static int by_size(const void *one, const void *other) {
    float a = *(const float *)one, b = *(const float *)other;
    return (a > b) - (a < b);
}

/* How long the flow has waited that has waited longest: one that never ends is in no other figure. */
static double longest_wait(double t) {
    double longest = 0;
    for (int fd = 0; fd < most_fds; fd++)
        if ((conns[fd].state == CONNECTING || conns[fd].state == WAITING) && t - conns[fd].sent > longest)
            longest = t - conns[fd].sent;
    return longest;
}

static void line(double seconds) {
    uint64_t kept = ended < MOST_LATENCIES ? ended : MOST_LATENCIES;
    qsort(latencies, kept, sizeof *latencies, by_size);
    printf("{\"seconds\": %.6f, \"bytes\": %llu, \"flows\": %llu, \"failures\": %llu, \"late\": %llu, "
           "\"waiting_seconds\": %.6f, \"p50_seconds\": %.9f, \"p99_seconds\": %.9f}\n",
           seconds, (unsigned long long)bytes, (unsigned long long)ended, (unsigned long long)failures,
           (unsigned long long)late, longest_wait(now()), kept ? latencies[kept / 2] : 0, kept ? latencies[kept * 99 / 100] : 0);
}

/* A flow that is due while the most are under way is late: it does not begin. */
static void client_pace(int timer, int at_once) {
    uint64_t due;
    if (read(timer, &due, sizeof due) < 0) return;
    for (; due; due--) {
        if (under_way < at_once)
            client_open();
        else
            late++;
    }
}

static void clients(int at_once, double rate, double seconds) {
    int timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
    double start = now() + seconds / 10, counting = 0;
    struct epoll_event ready[EVENTS];
    if (rate > 0) {
        struct timespec every = {.tv_sec = 1 / rate, .tv_nsec = (1 / rate - (time_t)(1 / rate)) * 1e9};
        struct itimerspec at = {.it_interval = every, .it_value = every};
        timerfd_settime(timer, 0, &at, NULL);
        watch(timer, EPOLLIN, EPOLL_CTL_ADD);
    }
    for (int i = 0; bulk && i < at_once; i++) client_open();
    for (;;) {
        while (!bulk && rate == 0 && under_way < at_once) client_open();
        int n = epoll_wait(poller, ready, EVENTS, 5);
        for (int i = 0; i < n; i++) {
            int fd = ready[i].data.fd;
            if (fd == timer)
                client_pace(timer, at_once);
            else if (conns[fd].state != FREE)
                client_event(fd);
        }
        double t = now();
        if (!counting && t >= start) {
            bytes = ended = failures = late = 0;
            counting = t;
        } else if (counting && t >= counting + seconds) {
            line(t - counting);
            return;
        }
    }
}

static void load_hello(const char *path, char mode) {
    FILE *file = fopen(path, "rb");
    if (!file) die(path);
    hello_bytes = fread(hello, 1, sizeof hello, file);
    fclose(file);
    if (hello_bytes <= MODE_AT || hello_bytes != 5 + ((unsigned char)hello[3] << 8 | (unsigned char)hello[4])) {
        fprintf(stderr, "flows: %s: not one TLS record\n", path);
        exit(2);
    }
    hello[MODE_AT] = mode;
}

int main(int argc, char **argv) {
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    most_fds = limit.rlim_max < 65536 ? limit.rlim_max : 65536;
    limit.rlim_cur = most_fds;
    setrlimit(RLIMIT_NOFILE, &limit);
    conns = calloc(most_fds, sizeof *conns);
    latencies = calloc(MOST_LATENCIES, sizeof *latencies);
    signal(SIGPIPE, SIG_IGN);
    poller = epoll_create1(0);
    if (argc >= 4 && !strcmp(argv[1], "server")) {
        server(argv[2], argc - 3, argv + 3);
        return 0;
    }
    int open = argc == 8 && !strcmp(argv[1], "open");
    bulk = argc == 7 && !strcmp(argv[1], "bulk");
    if (!open && !bulk) {
        fprintf(stderr, "usage: flows server ADDRESS PORT... | open ADDRESS PORT HELLO AT_ONCE FLOWS_PER_SECOND SECONDS"
                        " | bulk ADDRESS PORT HELLO CONNECTIONS SECONDS\n");
        return 2;
    }
    there = endpoint(argv[2], atoi(argv[3]), &there_size);
    load_hello(argv[4], open ? 'o' : 'b');
    clients(atoi(argv[5]), open ? atof(argv[6]) : 0, atof(argv[argc - 1]));
    return 0;
}
