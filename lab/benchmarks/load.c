/* Load for `sidedoor bench relay`: the target behind the proxies, and the clients in front of them.
 *
 *   load target                       listen on 127.0.0.1, print the port, serve until standard input ends
 *   load MODE PROXY_PORT TARGET_PORT CONNECTIONS SECONDS MESSAGE_BYTES INTERVAL_SECONDS
 *                                     be the clients; PROXY_PORT 0: no proxy; SECONDS 0: until standard input ends
 *
 * MODE is also the first byte of every connection, which tells the target what to do:
 *   d  down: the target sends for as long as it can     u  up: the target discards     b  both: both
 *   p  ping: the target echoes; each client has one message under way. INTERVAL_SECONDS 0: the next one follows the
 *      answer; else each client sends one every INTERVAL_SECONDS, and its latency counts from when it was due
 *   i  idle: each client has one message echoed and then is silent
 *   c  connect: the target sends one byte and closes; each client then connects anew
 *   s  slow: as d, but each client reads MESSAGE_BYTES every INTERVAL_SECONDS, no more
 *
 * The clients print a line of JSON when all of them stand and a tenth of SECONDS has gone by, and one with what they
 * counted since at the end. Both sides are one thread on epoll. Buffers are 256 KiB and are really read into, as a
 * real program's are. Latencies are kept in 64 classes per power of two: within 1.6 %.
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
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

enum { BUFFER = 256 * 1024, EVENTS = 256, AT_ONCE = 64, CLASSES = 64 * 64, MOST_FAILURES = 1000 };
enum state { FREE, NEW, CONNECTING, METHOD, REPLY, RUNNING };

struct conn {
    enum state state;
    char mode;
    int want;    /* bytes of the current message still to come; 0: none is under way */
    double due;  /* when the message under way, or the next one, had to be sent */
};

static struct conn *conns; /* by descriptor */
static int most_fds, poller;
static char buffer[BUFFER];

static void die(const char *what) {
    fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void give_up(const char *why) {
    fprintf(stderr, "load: %s\n", why);
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

static void no_delay(int fd) {
    int one = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
}

static struct sockaddr_in loopback(int port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
}

static void drop(int fd) {
    conns[fd].state = FREE;
    close(fd);
}

/* ---- target ---- */

static void target_event(int fd, uint32_t events) {
    struct conn *c = &conns[fd];
    ssize_t n;
    if (c->state == NEW) {
        if ((n = recv(fd, &c->mode, 1, 0)) <= 0) {
            if (n == 0 || errno != EAGAIN) drop(fd);
            return;
        }
        c->state = RUNNING;
        if (c->mode == 'c') {
            send(fd, "c", 1, MSG_NOSIGNAL);
            drop(fd);
            return;
        }
        if (c->mode == 'd' || c->mode == 'b') watch(fd, EPOLLIN | EPOLLOUT, EPOLL_CTL_MOD);
    }
    if (events & EPOLLOUT)
        if (send(fd, buffer, BUFFER, MSG_NOSIGNAL) < 0 && errno != EAGAIN) {
            drop(fd);
            return;
        }
    if (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
        if ((n = recv(fd, buffer, BUFFER, 0)) == 0 || (n < 0 && errno != EAGAIN)) {
            drop(fd);
            return;
        }
        if ((c->mode == 'p' || c->mode == 'i') && n > 0 && send(fd, buffer, n, MSG_NOSIGNAL) < 0) drop(fd);
    }
}

static void target(void) {
    struct sockaddr_in address = loopback(0);
    socklen_t size = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), one = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener, (struct sockaddr *)&address, size) < 0 || listen(listener, 4096) < 0) die("listen");
    getsockname(listener, (struct sockaddr *)&address, &size);
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    watch(listener, EPOLLIN, EPOLL_CTL_ADD);
    watch(0, EPOLLIN, EPOLL_CTL_ADD);
    struct epoll_event ready[EVENTS];
    for (;;) {
        int count = epoll_wait(poller, ready, EVENTS, -1);
        for (int i = 0; i < count; i++) {
            int fd = ready[i].data.fd;
            if (fd == 0) return;
            if (fd != listener) {
                if (conns[fd].state != FREE) target_event(fd, ready[i].events);
                continue;
            }
            while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
                if (fd >= most_fds) {
                    close(fd);
                    continue;
                }
                conns[fd] = (struct conn){.state = NEW};
                no_delay(fd);
                watch(fd, EPOLLIN, EPOLL_CTL_ADD);
            }
        }
    }
}

/* ---- clients ---- */

static char mode;
static int proxy_port, target_port, message, standing, opened;
static double interval;
static uint64_t bytes, messages, connects, failures, lost, latencies[CLASSES], longest;

static void remember(double seconds) {
    uint64_t ns = seconds > 0 ? seconds * 1e9 : 0, value = ns;
    int power = 0;
    if (ns > longest) longest = ns;
    for (; value >= 128; power++) value >>= 1;
    latencies[power * 64 + value]++; /* below 128: the value; above: 64 classes for each power of two */
}

static double percentile(double share) {
    uint64_t all = 0, seen = 0;
    for (int i = 0; i < CLASSES; i++) all += latencies[i];
    for (int i = 0; i < CLASSES; i++)
        if ((seen += latencies[i]) && seen >= all * share) {
            int power = i < 128 ? 0 : i / 64 - 1;
            return (double)((uint64_t)(i - power * 64) << power) / 1e9;
        }
    return 0;
}

static void client_open(void) {
    struct sockaddr_in address = loopback(proxy_port ? proxy_port : target_port);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (fd < 0) die("socket");
    if (fd >= most_fds) give_up("more descriptors are needed (ulimit -n)");
    no_delay(fd);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) < 0 && errno != EINPROGRESS) die("connect");
    conns[fd] = (struct conn){.state = CONNECTING, .mode = mode};
    watch(fd, EPOLLOUT, EPOLL_CTL_ADD);
}

static void client_again(int fd, int failed) {
    failures += failed;
    lost += failed;
    if (conns[fd].state == RUNNING) standing--;
    drop(fd);
    if (lost > MOST_FAILURES) give_up("more than 1000 connections failed");
    client_open();
}

static void client_send(int fd, double due) {
    conns[fd].due = due;
    conns[fd].want = message;
    send(fd, buffer, message, MSG_NOSIGNAL);
}

static void client_run(int fd) {
    conns[fd].state = RUNNING;
    send(fd, mode == 's' ? "d" : &mode, 1, MSG_NOSIGNAL);
    if (mode == 'p' || mode == 'i')
        client_send(fd, now()); /* it stands once it has been heard */
    else
        standing++;
    watch(fd, mode == 'u' ? EPOLLOUT : mode == 'b' ? EPOLLIN | EPOLLOUT : mode == 's' ? 0 : EPOLLIN, EPOLL_CTL_MOD);
}

static void client_echoed(int fd, ssize_t n) {
    struct conn *c = &conns[fd];
    if ((c->want -= n) > 0) return;
    c->want = 0;
    double t = now();
    if (c->mode != 'P') {
        c->mode = 'P'; /* heard for the first time */
        standing++;
        if (interval) c->due = 0; /* client_pace() gives it a time */
    } else {
        messages++;
        remember(t - c->due);
    }
    if (mode == 'i') return;
    if (!interval)
        client_send(fd, t);
    else if (c->due && (c->due += interval) <= t)
        client_send(fd, c->due);
}

static void client_event(int fd, uint32_t events) {
    struct conn *c = &conns[fd];
    unsigned char reply[10];
    ssize_t n;
    switch (c->state) {
    case CONNECTING:
        if (!proxy_port) {
            if (events & (EPOLLERR | EPOLLHUP))
                client_again(fd, 1);
            else
                client_run(fd);
            return;
        }
        if (send(fd, "\5\1\0", 3, MSG_NOSIGNAL) != 3) {
            client_again(fd, 1);
            return;
        }
        c->state = METHOD;
        watch(fd, EPOLLIN, EPOLL_CTL_MOD);
        return;
    case METHOD: {
        unsigned char request[10] = {5, 1, 0, 1, 127, 0, 0, 1, target_port >> 8, target_port & 255};
        if (recv(fd, reply, 2, 0) != 2 || reply[1] != 0 || send(fd, request, 10, MSG_NOSIGNAL) != 10)
            client_again(fd, 1);
        else
            c->state = REPLY;
        return;
    }
    case REPLY:
        if (recv(fd, reply, 10, 0) != 10 || reply[1] != 0)
            client_again(fd, 1);
        else
            client_run(fd);
        return;
    default:
        break;
    }
    if (events & EPOLLOUT) {
        if ((n = send(fd, buffer, BUFFER, MSG_NOSIGNAL)) > 0) {
            bytes += n;
        } else if (errno != EAGAIN) {
            client_again(fd, 1);
            return;
        }
    }
    if (!(events & (EPOLLIN | EPOLLHUP | EPOLLERR))) return;
    n = recv(fd, buffer, BUFFER, 0);
    if (n < 0 && errno == EAGAIN) return;
    if (mode == 'c') {
        if (n == 1) return; /* the byte; the end comes next */
        connects += n == 0;
        client_again(fd, n != 0);
        return;
    }
    if (n <= 0) {
        client_again(fd, 1);
        return;
    }
    bytes += n;
    if (mode == 'p' || mode == 'i') client_echoed(fd, n);
}

/* The message that is due next goes out, one connection after the other, `interval` / `count` apart. */
static void client_pace(int timer, int count, double start) {
    static int cursor = -1;
    static double next;
    uint64_t expirations;
    if (cursor >= 0 && read(timer, &expirations, sizeof expirations) < 0) return;
    if (cursor < 0) next = start, cursor = 0;
    for (double t = now(); next <= t; next += interval / count) {
        int first = cursor;
        do cursor = (cursor + 1) % most_fds;
        while ((conns[cursor].state != RUNNING || conns[cursor].mode != 'P') && cursor != first);
        struct conn *c = &conns[cursor];
        if (c->state == RUNNING && c->mode == 'P' && !c->want) client_send(cursor, c->due ? c->due : next);
    }
    struct itimerspec at = {.it_value = {.tv_sec = next, .tv_nsec = (next - (time_t)next) * 1e9}};
    timerfd_settime(timer, TFD_TIMER_ABSTIME, &at, NULL);
}

/* Slow readers take a little from each connection. */
static void client_sip(int timer) {
    uint64_t expirations;
    if (read(timer, &expirations, sizeof expirations) < 0) {
        struct itimerspec every = {.it_value = {.tv_sec = interval, .tv_nsec = (interval - (time_t)interval) * 1e9}};
        every.it_interval = every.it_value;
        timerfd_settime(timer, 0, &every, NULL);
        return;
    }
    for (int fd = 0; fd < most_fds; fd++) {
        ssize_t n = conns[fd].state == RUNNING ? recv(fd, buffer, message, 0) : 0;
        if (n > 0) bytes += n;
    }
}

static void client_line(double seconds) {
    printf("{\"event\": \"end\", \"seconds\": %.6f, \"bytes\": %llu, \"messages\": %llu, \"connects\": %llu, "
           "\"failures\": %llu, \"standing\": %d, \"p50_seconds\": %.9f, \"p99_seconds\": %.9f, "
           "\"longest_seconds\": %.9f}\n",
           seconds, (unsigned long long)bytes, (unsigned long long)messages, (unsigned long long)connects,
           (unsigned long long)failures, standing, percentile(0.5), percentile(0.99), longest / 1e9);
}

static int clients(int count, double seconds) {
    struct epoll_event ready[EVENTS];
    double patience = now() + 10 + count / 250, start = 0, counting = 0;
    int timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK), stop = 0;
    watch(0, EPOLLIN, EPOLL_CTL_ADD);
    watch(timer, EPOLLIN, EPOLL_CTL_ADD);
    for (;;) {
        while (!start && opened < count && opened - standing < AT_ONCE) {
            client_open();
            opened++;
        }
        int n = epoll_wait(poller, ready, EVENTS, 20);
        double t = now();
        for (int i = 0; i < n; i++) {
            int fd = ready[i].data.fd;
            if (fd == 0)
                stop = 1;
            else if (fd == timer)
                mode == 's' ? client_sip(timer) : client_pace(timer, count, 0);
            else if (conns[fd].state != FREE)
                client_event(fd, ready[i].events);
        }
        if (stop && !counting) give_up("stopped before the connections stood");
        if (!start) {
            if (standing == count || (mode == 'c' && connects)) {
                start = t + seconds / 10;
                if (interval) mode == 's' ? client_sip(timer) : client_pace(timer, count, t);
            } else if (t > patience) {
                fprintf(stderr, "load: %d of %d connections stand after %.0f s, %llu failed\n", standing, count,
                        10.0 + count / 250, (unsigned long long)failures);
                return 1;
            }
        } else if (!counting && t >= start) {
            printf("{\"event\": \"start\"}\n");
            fflush(stdout);
            bytes = messages = connects = failures = longest = 0;
            memset(latencies, 0, sizeof latencies);
            counting = t;
        } else if (counting && (stop || (seconds && t >= counting + seconds))) {
            client_line(t - counting);
            return 0;
        }
    }
}

int main(int argc, char **argv) {
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    most_fds = limit.rlim_max < 65536 ? limit.rlim_max : 65536;
    limit.rlim_cur = most_fds;
    setrlimit(RLIMIT_NOFILE, &limit);
    conns = calloc(most_fds, sizeof *conns);
    signal(SIGPIPE, SIG_IGN);
    memset(buffer, 'x', sizeof buffer);
    poller = epoll_create1(0);
    if (argc == 2 && !strcmp(argv[1], "target")) {
        target();
        return 0;
    }
    if (argc != 8 || !strchr("dubpics", argv[1][0])) {
        fprintf(stderr, "usage: load target | load d|u|b|p|i|c|s PROXY_PORT TARGET_PORT CONNECTIONS SECONDS "
                        "MESSAGE_BYTES INTERVAL_SECONDS\n");
        return 2;
    }
    mode = argv[1][0];
    proxy_port = atoi(argv[2]);
    target_port = atoi(argv[3]);
    message = atoi(argv[6]);
    interval = atof(argv[7]);
    return clients(atoi(argv[4]), atof(argv[5]));
}
