// Drives a plant with a bundle that `wm export` wrote: observation in, belief updated, plan refined, action out.
//
// Does in C++ what wmctrl/runtime/*.py does in Python: the same seed and observations give the same commands. Needs the
// standard library and dlopen alone to compile; ONNX Runtime's library is opened by its path at run time. Every refusal
// is a std::runtime_error of one line. Nothing here may be used from two threads at once.

#ifndef WMCTRL_CONTROLLER_HPP
#define WMCTRL_CONTROLLER_HPP

#include <dlfcn.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <initializer_list>
#include <limits>
#include <locale>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

// What ONNX Runtime hands out, by the names in its own header, so that a program may include both.
struct OrtAllocator;
struct OrtApi;
struct OrtEnv;
struct OrtMemoryInfo;
struct OrtRunOptions;
struct OrtSession;
struct OrtSessionOptions;
struct OrtStatus;
struct OrtTensorTypeAndShapeInfo;
struct OrtTypeInfo;
struct OrtValue;

namespace wmctrl {

using Shape = std::vector<std::int64_t>;

constexpr std::uint32_t API_VERSION = 16;  // of ONNX Runtime: 1.16 has all that is called here, newer ones keep it
constexpr int SCHEMA = 4;
constexpr int HEALTH = 5;  // figures that an iteration of the planner tells of itself
constexpr float LARGEST_RATE = 2.0f;  // takes an action through its whole range in a step
constexpr int DEEPEST = 16;                       // objects and lists within each other
constexpr std::size_t MOST_VALUES = 200'000;      // in one JSON file
constexpr std::size_t LARGEST_JSON = 4u << 20;    // bytes
constexpr std::size_t LARGEST_FILE = 64u << 20;   // bytes
constexpr std::size_t LARGEST_HEADER = 1u << 20;  // bytes, of a safetensors file
constexpr std::size_t LARGEST_ARRAY = 1u << 26;   // elements
constexpr std::size_t LARGEST_VECTOR = 4096;
constexpr std::int64_t LARGEST_COUNT = 100'000;
constexpr double LARGEST_WEIGHT = 1e6;
constexpr double LARGEST_TOLERANCE = 0.05;
constexpr std::uint64_t LARGEST_BUNDLE = 256u << 20;  // bytes of all files
constexpr std::size_t MOST_GOLDEN = 64;               // steps

/// Ends every refusal of what is in a bundle's folder, and of golden steps that do not come out.
constexpr const char* REMEDY = "copy the bundle's folder again, or export the run again with `wm export RUN`";

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "bundles hold little-endian numbers");

/// Refuse, for a reason told in parts.
template <class... Parts>
[[noreturn]] void fail(const Parts&... parts) {
    std::ostringstream line;
    line.imbue(std::locale::classic());
    line.precision(2);
    (line << ... << parts);
    throw std::runtime_error(line.str());
}

/// A text in a message: on one line, and cut where it is long.
inline std::string shown(std::string_view text, std::size_t longest = 60) {
    std::string line(text.substr(0, longest));
    std::replace_if(line.begin(), line.end(), [](unsigned char c) { return c < 0x20 || c == 0x7f; }, ' ');
    return text.size() > longest ? line + "..." : line;
}

inline std::string shown(const Shape& shape) {
    std::string line = "(";
    for (std::size_t i = 0; i < shape.size(); ++i) line += (i ? ", " : "") + std::to_string(shape[i]);
    return line + ")";
}

/// Names in a message.
inline std::string listed(const std::vector<std::string>& names) {
    std::string line;
    for (const std::string& name : names) line += (line.empty() ? "" : ", ") + shown(name);
    return line;
}

/// Elements of an array of this shape; refuses what is larger than anything of ours.
inline std::size_t volume(const Shape& shape) {
    std::uint64_t most = 1;
    for (std::int64_t length : shape) {
        if (length < 0 || static_cast<std::uint64_t>(length) > LARGEST_ARRAY / most)
            fail("shape ", shown(shape), " is too large");
        most *= static_cast<std::uint64_t>(std::max<std::int64_t>(length, 1));
    }
    return std::find(shape.begin(), shape.end(), 0) == shape.end() ? most : 0;
}

/// Some elements that belong to someone else.
template <class T>
struct Span {
    const T* data = nullptr;
    std::size_t size = 0;

    Span() = default;
    Span(const T* first, std::size_t count) : data(first), size(count) {}
    Span(const std::vector<T>& held) : data(held.data()), size(held.size()) {}
    const T* begin() const { return data; }
    const T* end() const { return data + size; }
};

inline void assign(std::vector<float>& to, Span<float> from) {
    if (to.size() != from.size) throw std::logic_error("sizes were to be held at loading, and differ");
    std::copy(from.begin(), from.end(), to.begin());
}

// ---------------------------------------------------------------------------------------------------------------- JSON

/// A JSON value; numbers stay text until someone asks what they should be, and a text keeps its escapes.
struct Json {
    enum class Kind { word, number, text, list, object };
    Kind kind = Kind::word;  // word: true, false or null
    std::string text;
    std::vector<Json> items;         // of a list or an object
    std::vector<std::string> names;  // of an object's items, in the file's order
};

/// Reads JSON that nobody vouches for: bounded in size, depth and values.
class JsonReader {
public:
    JsonReader(std::string_view content, std::string name) : content_(content), name_(std::move(name)) {}

    Json document() {
        if (content_.size() > LARGEST_JSON) fail(name_, ": has ", content_.size(), " bytes of JSON, too many");
        Json found = value(1);
        if (found.kind != Json::Kind::object) fail(name_, ": must hold a JSON object");
        if (peek() != '\0' || at_ < content_.size()) expected("the end");
        return found;
    }

private:
    std::string_view content_;
    std::string name_;
    std::size_t at_ = 0, values_ = 0;

    template <class... Parts>
    [[noreturn]] void expected(const Parts&... parts) const {
        fail(name_, ": is not JSON of ours: expected ", parts..., " at byte ", at_, " of ", content_.size());
    }

    /// The character at the place that is reached; 0 at the end.
    char here() const { return at_ < content_.size() ? content_[at_] : '\0'; }

    /// The next character that is no space, which becomes the place that is reached.
    char peek() {
        at_ = std::min(content_.find_first_not_of(" \t\r\n", at_), content_.size());
        return here();
    }

    bool take(char wanted) {
        if (peek() != wanted) return false;
        ++at_;
        return true;
    }

    Json value(int depth) {
        if (++values_ > MOST_VALUES) expected("at most ", MOST_VALUES, " values");
        const char first = peek();
        if (first == '{' || first == '[') return several(depth);
        if (first == '"') return {Json::Kind::text, text(), {}, {}};
        const bool is_number = first == '-' || (first >= '0' && first <= '9');
        const std::size_t end = content_.find_first_not_of(is_number ? "+-.eE0123456789" : "aeflnrstu", at_);
        const std::string found(content_.substr(at_, end - at_));
        if (!is_number && found != "true" && found != "false" && found != "null") expected("a value");
        at_ += found.size();
        return {is_number ? Json::Kind::number : Json::Kind::word, found, {}, {}};
    }

    /// A list or an object.
    Json several(int depth) {
        const bool is_object = here() == '{';
        Json found{is_object ? Json::Kind::object : Json::Kind::list, "", {}, {}};
        if (depth > DEEPEST) expected("objects and lists at most ", DEEPEST, " deep");
        ++at_;
        if (take(is_object ? '}' : ']')) return found;
        do {
            if (is_object) {
                if (peek() != '"') expected("a name");
                found.names.push_back(text());
                if (found.names.back().find('\\') != std::string::npos) expected("a name without escapes");
                if (!take(':')) expected("a colon");
            }
            found.items.push_back(value(depth + 1));
        } while (take(','));
        if (!take(is_object ? '}' : ']')) expected("a comma or the end of a list or an object");
        std::vector<std::string_view> sorted(found.names.begin(), found.names.end());
        std::sort(sorted.begin(), sorted.end());
        const auto twice = std::adjacent_find(sorted.begin(), sorted.end());
        if (twice != sorted.end()) fail(name_, ": has '", shown(*twice), "' twice in one object");
        return found;
    }

    std::string text() {
        const std::size_t from = ++at_;
        while (here() != '"') {
            if (static_cast<unsigned char>(here()) < 0x20) expected("the end of a text");
            at_ += here() == '\\' ? 2 : 1;
        }
        return std::string(content_.substr(from, at_++ - from));
    }
};

/// A JSON value that knows where it stands, for messages, and what it should be.
class Field {
public:
    Field(const Json& json, std::string place) : json_(&json), place_(std::move(place)) {}

    template <class... Parts>
    [[noreturn]] void refuse(const Parts&... parts) const {
        fail(place_, " ", parts...);
    }

    bool is_null() const { return json_->kind == Json::Kind::word && json_->text == "null"; }

    /// An object that has just these fields.
    const Field& with(std::initializer_list<std::string_view> wanted) const {
        for (std::string_view name : wanted)
            if (std::find(names().begin(), names().end(), name) == names().end()) refuse("lacks ", name);
        for (const std::string& name : names())
            if (std::find(wanted.begin(), wanted.end(), name) == wanted.end()) refuse("has an unknown ", shown(name));
        return *this;
    }

    Field operator[](std::string_view name) const {
        const auto place = std::find(names().begin(), names().end(), name) - names().begin();
        if (place == static_cast<std::ptrdiff_t>(names().size())) refuse("lacks ", name);
        return {json_->items[static_cast<std::size_t>(place)], place_ + ": " + std::string(name)};
    }

    const std::vector<std::string>& names() const { return need(Json::Kind::object, "an object").names; }

    std::vector<Field> items() const {
        std::vector<Field> found;
        for (const Json& item : need(Json::Kind::list, "a list").items)
            found.emplace_back(item, place_ + "[" + std::to_string(found.size()) + "]");
        return found;
    }

    const std::string& text() const { return need(Json::Kind::text, "text").text; }

    std::int64_t whole(std::int64_t low, std::int64_t high) const {
        const std::string& text = need(Json::Kind::number, "a whole number").text;
        std::int64_t found = 0;
        const auto read = std::from_chars(text.data(), text.data() + text.size(), found);
        if (read.ec != std::errc() || read.ptr != text.data() + text.size() || found < low || found > high)
            refuse("must be a whole number from ", low, " to ", high, ", came ", text);
        return found;
    }

    double real() const {
        std::istringstream text(need(Json::Kind::number, "a finite number").text);
        text.imbue(std::locale::classic());
        double found = 0.0;
        if (!(text >> found) || !text.eof() || !std::isfinite(found))
            refuse("must be a finite number, came ", text.str());
        return found;
    }

    Shape wholes(std::int64_t least) const {
        Shape found;
        for (const Field& item : items()) found.push_back(item.whole(least, std::numeric_limits<std::int64_t>::max()));
        return found;
    }

private:
    const Json* json_;
    std::string place_;

    const Json& need(Json::Kind kind, const char* what) const {
        if (json_->kind != kind) refuse("must be ", what);
        return *json_;
    }
};

// --------------------------------------------------------------------------------------------------------------- files

/// SHA-256 (FIPS 180-4) in hexadecimal.
inline std::string sha256(std::string_view content) {
    static constexpr std::array<std::uint32_t, 64> K = {
        0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
        0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
        0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
        0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
        0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
        0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
        0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
        0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};
    std::array<std::uint32_t, 8> H = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                      0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    const auto turned = [](std::uint32_t x, int n) { return x >> n | x << (32 - n); };
    const auto digest_block = [&](const unsigned char* block) {
        std::array<std::uint32_t, 64> W{};
        for (std::size_t t = 0; t < 16; ++t)
            for (std::size_t i = 0; i < 4; ++i) W[t] = W[t] << 8 | block[4 * t + i];
        for (std::size_t t = 16; t < 64; ++t) {
            const std::uint32_t x = W[t - 15], y = W[t - 2];
            W[t] = W[t - 16] + (turned(x, 7) ^ turned(x, 18) ^ x >> 3) + W[t - 7] +
                   (turned(y, 17) ^ turned(y, 19) ^ y >> 10);
        }
        auto [a, b, c, d, e, f, g, h] = H;
        for (std::size_t t = 0; t < 64; ++t) {
            const std::uint32_t one =
                h + (turned(e, 6) ^ turned(e, 11) ^ turned(e, 25)) + ((e & f) ^ (~e & g)) + K[t] + W[t];
            const std::uint32_t two = (turned(a, 2) ^ turned(a, 13) ^ turned(a, 22)) + ((a & b) ^ (a & c) ^ (b & c));
            h = g, g = f, f = e, e = d + one, d = c, c = b, b = a, a = one + two;
        }
        const std::array<std::uint32_t, 8> added = {a, b, c, d, e, f, g, h};
        for (std::size_t i = 0; i < 8; ++i) H[i] += added[i];
    };
    const auto* bytes = reinterpret_cast<const unsigned char*>(content.data());
    const std::size_t whole = content.size() / 64 * 64, rest = content.size() - whole;
    for (std::size_t at = 0; at < whole; at += 64) digest_block(bytes + at);
    std::array<unsigned char, 128> last{};  // the rest, a one bit, zeros, and the length in bits
    std::copy_n(bytes + whole, rest, last.begin());
    last[rest] = 0x80;
    const std::size_t blocks = rest < 56 ? 1 : 2;
    for (std::size_t i = 0; i < 8; ++i)
        last[64 * blocks - 1 - i] = static_cast<unsigned char>(std::uint64_t{content.size()} * 8 >> 8 * i);
    for (std::size_t i = 0; i < blocks; ++i) digest_block(&last[64 * i]);
    std::string hex;
    for (std::uint32_t word : H)
        for (int shift = 28; shift >= 0; shift -= 4) hex += "0123456789abcdef"[word >> shift & 15];
    return hex;
}

/// The content of an ordinary file that nobody vouches for; opening it neither waits nor follows a link.
inline std::string read_bounded(const std::string& path, std::size_t limit) {
    const int descriptor = ::open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    const std::unique_ptr<FILE, int (*)(FILE*)> file(descriptor < 0 ? nullptr : ::fdopen(descriptor, "rb"),
                                                     std::fclose);
    if (!file) fail(path, ": cannot be opened: ", errno == ELOOP ? "it is a link" : std::strerror(errno));
    struct stat status{};
    if (::fstat(descriptor, &status) != 0 || !S_ISREG(status.st_mode)) fail(path, ": is not an ordinary file");
    const auto size = static_cast<std::size_t>(status.st_size);
    if (size > limit) fail(path, ": has ", size, " bytes, expected at most ", limit);
    std::string content(size, '\0');
    if (std::fread(content.data(), 1, size, file.get()) != size) fail(path, ": ends while it is read");
    return content;
}

/// An array of a safetensors file.
struct Tensor {
    bool is_bytes = false;  // uint8; float32 otherwise
    Shape shape;
    std::vector<float> floats;
    std::vector<std::uint8_t> bytes;

    std::size_t rows() const { return shape.empty() ? 0 : static_cast<std::size_t>(shape[0]); }
};

using Tensors = std::map<std::string, Tensor, std::less<>>;

/// The arrays of a safetensors file that nobody vouches for: behind each other, without gaps, up to the file's end.
inline Tensors parse_tensors(std::string_view content, const std::string& name) {
    std::uint64_t size = 0;
    for (std::size_t i = 8; i > 0; --i)
        size = size << 8 | (i <= content.size() ? static_cast<unsigned char>(content[i - 1]) : 0);
    if (content.size() < 8 || size > std::min(LARGEST_HEADER, content.size() - 8))
        fail(name, ": is not a safetensors file, its header's length does not fit");
    const Json json = JsonReader(content.substr(8, size), name).document();
    const std::string_view data = content.substr(8 + size);
    const Field header(json, name);
    std::map<std::pair<std::uint64_t, std::uint64_t>, std::string> order;
    Tensors found;
    std::size_t held = 0;
    for (const std::string& key : header.names()) {
        if (key == "__metadata__") continue;
        const Field entry = header[key].with({"dtype", "shape", "data_offsets"});
        const std::string& dtype = entry["dtype"].text();
        if (dtype != "F32" && dtype != "U8") entry.refuse("is of type ", shown(dtype), ", expected F32 or U8");
        Tensor tensor;
        tensor.is_bytes = dtype == "U8";
        tensor.shape = entry["shape"].wholes(0);
        const Shape offsets = entry["data_offsets"].wholes(0);
        const std::size_t needed = volume(tensor.shape) * (tensor.is_bytes ? 1 : sizeof(float));
        if (offsets.size() != 2 || static_cast<std::uint64_t>(offsets[1]) > data.size() || offsets[0] > offsets[1] ||
            static_cast<std::uint64_t>(offsets[1] - offsets[0]) != needed)
            entry.refuse("must lie within the file and have ", needed, " bytes");
        const char* from = data.data() + offsets[0];
        if (tensor.is_bytes) tensor.bytes.assign(from, from + needed);
        else if (needed) tensor.floats.resize(needed / sizeof(float)), std::memcpy(tensor.floats.data(), from, needed);
        if (needed) order.emplace(std::pair(offsets[0], offsets[1]), key);
        held += needed;
        found.emplace(key, std::move(tensor));
    }
    std::uint64_t end = 0;
    for (const auto& [place, key] : order) {
        if (place.first != end) fail(name, ": '", shown(key), "' does not begin where the last array ends");
        end = place.second;
    }
    if (end != data.size() || held != data.size()) fail(name, ": holds more or less than its arrays");
    return found;
}

// ------------------------------------------------------------------------------------------------------------ manifest

struct Port {
    std::string name;
    bool is_bytes = false;  // uint8; float32 otherwise
    Shape shape;
};

struct Graph {
    std::string file;
    std::vector<Port> inputs, outputs;
};

struct FileEntry {
    std::string sha256;
    std::size_t bytes = 0;
};

/// How much noise a decision takes.
struct Randomness {
    std::int64_t samples = 0, horizon = 0, action = 0, proposals = 0, particles = 0, components = 0, stoch = 0;
};

struct Planning {
    std::int64_t iterations = 0, horizon = 0, elites = 0;
    double init_std = 0.0, reopening = 0.0;
    Randomness randomness;
};

/// All that is known of a bundle before its files are read.
struct Manifest {
    std::string task;
    double control_period = 0.0;                     // time between two actions [s]
    std::int64_t proprio = 0, goal = 0, action = 0;  // elements
    Shape camera;                                    // height, width, channels; empty where there is none
    std::optional<Planning> planning;
    std::vector<std::pair<std::string, double>> weights;  // in the graph's order
    double failure_reward = 0.0;
    double golden_tolerance = 0.0;
    std::map<std::string, Graph, std::less<>> graphs;
    std::map<std::string, FileEntry> files;
};

/// Those that drive here, in the order of a golden step. What stands in for sensors that are missing is left to Python.
constexpr std::array<const char*, 4> GRAPHS = {"observe", "propose", "refine", "policy"};

/// How many elements a part of the task has.
inline std::int64_t parse_elements(const Field& list, std::size_t least) {
    const std::vector<Field> items = list.items();
    for (const Field& item : items) item.with({"name", "unit", "low", "high"});
    if (items.size() < least || items.size() > LARGEST_VECTOR)
        list.refuse("must have from ", least, " to ", LARGEST_VECTOR, " elements");
    return static_cast<std::int64_t>(items.size());
}

inline void parse_task(const Field& task, Manifest& m) {
    task.with({"id", "control_period", "proprio", "goal", "action", "camera", "safe", "observe", "config"});
    m.task = task["id"].text();
    m.control_period = task["control_period"].real();
    if (!(m.control_period >= 1e-5 && m.control_period <= 1e3))
        task["control_period"].refuse("must be from 1e-5 to 1000 s");
    m.proprio = parse_elements(task["proprio"], 0);
    m.goal = parse_elements(task["goal"], 0);
    m.action = parse_elements(task["action"], 1);
    if (!task["camera"].is_null()) {
        for (const Field& item : task["camera"].items()) m.camera.push_back(item.whole(1, 1024));
        if (m.camera.size() != 3) task["camera"].refuse("must be height, width and channels");
    }
    if (m.proprio == 0 && m.camera.empty()) task.refuse("must observe proprio, a camera or both");
}

inline Planning parse_planning(const Field& planning) {
    planning.with({"iterations", "horizon", "elites", "init_std", "reopening", "randomness"});
    Planning p;
    p.iterations = planning["iterations"].whole(1, 100);
    p.horizon = planning["horizon"].whole(1, 1000);
    p.elites = planning["elites"].whole(1, 10'000);
    p.init_std = planning["init_std"].real();
    if (!(p.init_std > 0.0)) planning["init_std"].refuse("must be above 0");
    p.reopening = planning["reopening"].real();
    if (!(p.reopening > 0.0 && p.reopening <= 1.0)) planning["reopening"].refuse("must be above 0 and at most 1");
    const Field r = planning["randomness"].with(
        {"samples", "horizon", "action", "exponent", "proposals", "particles", "components", "stoch"});
    r["exponent"].real();
    const auto count = [&](const char* name, std::int64_t least) { return r[name].whole(least, LARGEST_COUNT); };
    p.randomness = {count("samples", 1),   count("horizon", 1),    count("action", 1), count("proposals", 0),
                    count("particles", 1), count("components", 1), count("stoch", 1)};
    return p;
}

inline std::vector<Port> parse_ports(const Field& list) {
    std::vector<Port> found;
    for (const Field& item : list.items()) {
        item.with({"name", "dtype", "shape", "meaning"});
        const std::string& dtype = item["dtype"].text();
        if (dtype != "float32" && dtype != "uint8")
            item["dtype"].refuse("must be float32 or uint8, came ", shown(dtype));
        found.push_back({item["name"].text(), dtype == "uint8", item["shape"].wholes(1)});
    }
    return found;
}

/// Whether this is a path downwards within the bundle.
inline bool is_within(const std::string& path) {
    std::size_t part = 0, parts = 1;  // characters of this part
    for (char c : path) {
        const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
        if (c == '/' && part > 0) part = 0, ++parts;
        else if (letter || (part > 0 && (c == '.' || c == '-'))) ++part;
        else return false;
        if (part > 100) return false;
    }
    return part > 0 && parts <= 4 && path.find("..") == path.npos;
}

inline FileEntry parse_file(const Field& file) {
    file.with({"sha256", "bytes"});
    const std::string& hash = file["sha256"].text();
    if (hash.size() != 64 || hash.find_first_not_of("0123456789abcdef") != hash.npos)
        file["sha256"].refuse("must be 64 hexadecimal digits");
    return {hash, static_cast<std::size_t>(file["bytes"].whole(0, LARGEST_FILE))};
}

using Shapes = std::map<std::string, Shape, std::less<>>;

/// The length of the belief's memory or stochastic state.
inline std::int64_t state_size(const Manifest& m, const char* part) {
    for (const Port& port : m.graphs.find("observe")->second.inputs)
        if (port.name == part && port.shape.size() == 1) return port.shape[0];
    fail("manifest.json: graphs: observe: a vector ", part, " is missing");
}

/// Of what one decision takes, by kind, where it takes any.
inline Shapes noise_shapes(const Randomness& r) {
    Shapes shapes = {{"candidates", {r.samples, r.horizon, r.action}}};
    if (r.proposals) shapes["proposals"] = {r.proposals, r.horizon, r.action};
    if (r.particles > 1) {
        shapes["future_components"] = {r.particles, r.horizon, r.components};
        shapes["future_values"] = {r.particles, r.horizon, r.stoch};
    }
    return shapes;
}

/// What a graph takes and gives, as the rest of the manifest tells.
inline std::pair<Shapes, Shapes> ports_of(const std::string& graph, const Manifest& m) {
    const Shape A = {m.action}, D = {state_size(m, "deter")}, S = {state_size(m, "stoch")};
    Shapes inputs = {{"deter", D}, {"stoch", S}};
    if (graph == "observe") {
        inputs["action"] = A;
        if (m.proprio) inputs["proprio"] = {m.proprio};
        if (!m.camera.empty()) inputs["camera"] = m.camera;
        return {inputs, {{"next_deter", D}, {"next_stoch", S}, {"surprise", {}}}};
    }
    if (graph == "depict") return {inputs, {{"next_camera", m.camera}}};
    if (graph == "imagine") {
        inputs["action"] = A;
        Shapes outputs = {{"next_deter", D}, {"next_stoch", S}};
        if (m.proprio) outputs["next_proprio"] = {m.proprio};
        return {inputs, outputs};
    }
    if (m.goal) inputs["goal"] = {m.goal};
    if (graph == "policy") return {inputs, {{"next_action", A}}};
    Shapes noise = noise_shapes(m.planning->randomness);
    if (graph == "propose") {
        inputs["noise"] = noise["proposals"];
        return {inputs, {{"proposals", noise["proposals"]}}};
    }
    const Shape plan = {m.planning->horizon, m.action}, elites = {m.planning->elites, m.planning->horizon, m.action};
    inputs.insert({{"action", A}, {"low", A}, {"high", A}, {"weights", {static_cast<std::int64_t>(m.weights.size())}}});
    inputs.insert({{"rate", A}, {"risk", {}}});
    inputs.insert({{"failed", {}}, {"plan_mean", plan}, {"plan_std", plan}, {"plan_elites", elites}});
    noise["noise"] = noise["candidates"];
    noise.erase("candidates");
    inputs.insert(noise.begin(), noise.end());
    return {inputs, {{"next_plan_mean", plan}, {"next_plan_std", plan}, {"next_plan_elites", elites}, {"health", {HEALTH}}}};
}

inline void hold_ports(const std::string& place, const std::vector<Port>& ports, Shapes wanted) {
    for (const Port& port : ports) {
        const auto found = wanted.find(port.name);
        if (found == wanted.end()) fail(place, ": '", shown(port.name), "' is unknown here, or there twice");
        if (found->second != port.shape || port.is_bytes != (port.name == "camera"))
            fail(place, ": ", port.name, " is ", shown(port.shape), ", the rest of the manifest tells ",
                 shown(found->second));
        wanted.erase(found);
    }
    if (!wanted.empty()) fail(place, ": ", wanted.begin()->first, " is missing");
}

/// Hold a manifest's parts to each other, so that every size that is copied later is known to fit.
inline void hold_together(const Manifest& m) {
    const std::string place = "manifest.json: graphs: ";
    const bool proposes = m.planning && m.planning->randomness.proposals;
    const bool depicts = m.proprio && !m.camera.empty();
    const std::map<std::string, bool> needed = {{"observe", true},         {"imagine", true},
                                                {"depict", depicts},       {"policy", !m.planning},
                                                {"propose", proposes},     {"refine", m.planning.has_value()}};
    for (const auto& [name, is_needed] : needed)
        if (is_needed && !m.graphs.count(name)) fail(place, name, " is missing");
    if (m.planning &&
        (m.planning->randomness.horizon != m.planning->horizon || m.planning->randomness.action != m.action))
        fail("manifest.json: planning: randomness has another horizon or action than the rest");
    for (const auto& [name, graph] : m.graphs) {
        const auto one = needed.find(name);
        const bool plans = name == "refine" || name == "propose";
        if (one == needed.end() || (plans && !m.planning) || (name == "depict" && !depicts)) fail(place, "'", shown(name), "' is unknown here");
        if (!m.files.count(graph.file)) fail(place, name, ": '", shown(graph.file), "' is not among the files");
        const auto [inputs, outputs] = ports_of(name, m);
        hold_ports(place + name + ": inputs", graph.inputs, inputs);
        hold_ports(place + name + ": outputs", graph.outputs, outputs);
    }
}

/// Refuse a weight of a part of the objective under which a plan's worth would not be finite.
inline void hold_weight(const std::string& name, double weight) {
    const double least = name == "risk" ? 1e-3 : 0.0, most = name == "risk" ? 1.0 : LARGEST_WEIGHT;
    if (!(weight >= least && weight <= most))
        fail(shown(name), " must be from ", least, " to ", most, ", came ", weight);
}

inline Manifest parse_manifest(std::string_view content) {
    const Json json = JsonReader(content, "manifest.json").document();
    const Field field(json, "manifest.json:");
    if (field["schema"].whole(0, LARGEST_COUNT) != SCHEMA)
        field["schema"].refuse("must be ", SCHEMA);
    field.with({"schema", "task", "planning", "objective", "calibration", "precision", "golden_tolerance", "graphs", "learning",
                "files", "made_by"});
    Manifest m;
    parse_task(field["task"], m);
    if (!field["planning"].is_null()) m.planning = parse_planning(field["planning"]);
    const Field objective = field["objective"].with({"weights", "failure_reward"});
    for (const std::string& name : objective["weights"].names()) {
        m.weights.emplace_back(name, objective["weights"][name].real());
        hold_weight(name, m.weights.back().second);
    }
    m.failure_reward = objective["failure_reward"].real();
    if (!(std::abs(m.failure_reward) <= LARGEST_WEIGHT))
        objective["failure_reward"].refuse("must be at most ", LARGEST_WEIGHT, " in size");
    m.golden_tolerance = field["golden_tolerance"].real();
    if (!(m.golden_tolerance > 0.0 && m.golden_tolerance <= LARGEST_TOLERANCE))
        field["golden_tolerance"].refuse("must be above 0 and at most ", LARGEST_TOLERANCE);
    for (const std::string& name : field["graphs"].names()) {
        const Field graph = field["graphs"][name].with({"file", "inputs", "outputs"});
        m.graphs[name] = {graph["file"].text(), parse_ports(graph["inputs"]), parse_ports(graph["outputs"])};
    }
    std::uint64_t total = 0;
    for (const std::string& name : field["files"].names()) {
        if (!is_within(name)) field["files"].refuse("has '", shown(name), "', which is not a path within the bundle");
        m.files[name] = parse_file(field["files"][name]);
        total += m.files[name].bytes;
    }
    if (total > LARGEST_BUNDLE) field["files"].refuse("have ", total, " bytes, expected at most ", LARGEST_BUNDLE);
    for (const std::string& name : field["learning"].names()) {  // graphs that nobody who drives needs
        const Field graph = field["learning"][name].with({"file", "inputs", "outputs"});
        if (!m.files.count(graph["file"].text())) graph["file"].refuse("is not among the files");
    }
    hold_together(m);
    return m;
}

/// A bundle's manifest, and the contents of the files that drive by name.
using Checked = std::pair<Manifest, std::map<std::string, std::string>>;

/// A bundle's folder, every file of it held to the manifest.
inline Checked checked(const std::string& folder) {
    Manifest manifest = parse_manifest(read_bounded(folder + "/manifest.json", LARGEST_JSON));
    std::map<std::string, std::string> kept = {{"noise.safetensors", ""}, {"golden.safetensors", ""}};
    for (const auto& entry : manifest.graphs) kept[entry.second.file];
    for (const auto& entry : kept)
        if (!manifest.files.count(entry.first)) fail("manifest.json: files: ", entry.first, " is missing");
    for (const auto& [name, entry] : manifest.files) {
        std::string content = read_bounded(folder + "/" + name, entry.bytes);
        if (content.size() != entry.bytes || sha256(content) != entry.sha256)
            fail(name, ": is damaged, its SHA-256 is not the one in manifest.json");
        if (kept.count(name)) kept[name] = std::move(content);
    }
    return {std::move(manifest), std::move(kept)};
}

/// The same, where every refusal ends with what to do.
inline Checked read_bundle(const std::string& folder) {
    try {
        return checked(folder);
    } catch (const std::runtime_error& error) {
        fail(error.what(), "; ", REMEDY);
    }
}

// ---------------------------------------------------------------------------------------------------------- ONNX files

enum class Wire : unsigned { varint, fixed64, length, fixed32 = 5 };
constexpr std::uint64_t MODEL_GRAPH = 7, GRAPH_INITIALISER = 5, GRAPH_INPUT = 11, INITIALISER_NAME = 8, INPUT_NAME = 1;

/// Reads the fields of one Protocol Buffers message that nobody vouches for, one after another.
class Fields {
public:
    std::uint64_t number = 0;
    std::string_view whole, value;  // the field with its header; what it holds, where that has a length

    Fields(std::string_view message, const std::string& file) : message_(message), file_(file) {}

    /// Go on to the next field; whether there is one.
    bool next() {
        if (at_ == message_.size()) return false;
        const std::size_t begin = at_;
        const std::uint64_t tag = varint();
        number = tag >> 3;
        wire_ = static_cast<Wire>(tag & 7);
        value = {};
        if (wire_ == Wire::varint) varint();
        else if (wire_ == Wire::fixed64) take(8);
        else if (wire_ == Wire::length) value = take(varint());
        else if (wire_ == Wire::fixed32) take(4);
        else refuse();
        whole = message_.substr(begin, at_ - begin);
        return true;
    }

    /// Whether this is a field that has a length, of that number.
    bool is(std::uint64_t wanted) const { return number == wanted && wire_ == Wire::length; }

private:
    std::string_view message_;
    const std::string& file_;
    std::size_t at_ = 0;
    Wire wire_ = Wire::varint;

    [[noreturn]] void refuse() const { fail(file_, ": is no ONNX file"); }

    std::string_view take(std::uint64_t size) {
        if (size > message_.size() - at_) refuse();
        const std::string_view taken = message_.substr(at_, size);
        at_ += size;
        return taken;
    }

    std::uint64_t varint() {
        std::uint64_t found = 0;
        for (unsigned shift = 0; shift < 64; shift += 7) {
            const auto byte = static_cast<unsigned char>(take(1)[0]);
            if (shift == 63 && byte > 1) break;
            found |= static_cast<std::uint64_t>(byte & 127) << shift;
            if (byte < 128) return found;
        }
        refuse();
    }
};

/// The text in a message's field; of several the last, as Protocol Buffers read it.
inline std::string_view text_in(std::string_view message, std::uint64_t number, const std::string& file) {
    std::string_view text;
    for (Fields field(message, file); field.next();)
        if (field.is(number)) text = field.value;
    return text;
}

/// What stands before a field that has a length.
inline std::string header_of(std::uint64_t number, std::uint64_t length) {
    std::string header;
    for (std::uint64_t rest : {number << 3 | static_cast<std::uint64_t>(Wire::length), length}) {
        for (; rest > 127; rest >>= 7) header += static_cast<char>((rest & 127) | 128);
        header += static_cast<char>(rest);
    }
    return header;
}

/// A graph's file whose parameters, inputs that have a value, are constants. ONNX Runtime arranges a constant for its
/// products once, and an input in every run.
inline std::string with_constant_parameters(const std::string& content, const std::string& file) {
    std::string model;
    for (Fields field(content, file); field.next();) {
        if (!field.is(MODEL_GRAPH)) {
            model += field.whole;
            continue;
        }
        std::set<std::string_view> valued;
        for (Fields part(field.value, file); part.next();)
            if (part.is(GRAPH_INITIALISER)) valued.insert(text_in(part.value, INITIALISER_NAME, file));
        std::string kept;
        for (Fields part(field.value, file); part.next();)
            if (!part.is(GRAPH_INPUT) || !valued.count(text_in(part.value, INPUT_NAME, file))) kept += part.whole;
        model += header_of(MODEL_GRAPH, kept.size()) + kept;
    }
    return model;
}

// -------------------------------------------------------------------------------------------------------- ONNX Runtime

enum class OrtLog : unsigned { fatal = 4 };
enum class OrtAllocation : int { device = 0 };
enum class OrtMemory : int { standard = 0 };
enum class OrtElement : unsigned { undefined, float32, uint8 };

/// What the library's one exported function gives.
struct OrtBase {
    const OrtApi* (*get_api)(std::uint32_t version);  // null where the library is older than the version
    const char* (*get_version_string)();
};

/// A function in the library's table of functions, to be called as if it were the function.
template <std::size_t INDEX, class Function>
struct OrtEntry {
    static constexpr std::size_t index = INDEX;
    const OrtApi* table;

    operator Function*() const { return reinterpret_cast<Function*>(reinterpret_cast<void (*const*)()>(table)[INDEX]); }
};

/// The functions of ONNX Runtime that are called here, each by its index in the table that the library gives.
///
/// Whoever is compiled with onnxruntime_c_api.h calls them by the same indices; the numbers and signatures are those of
/// its `struct OrtApi`. They hold for every library that `get_api` has a table for, because ONNX Runtime promises to
/// append to that table and to change nothing in it. Where the header is at hand, tests/test_cpp.py compares.
struct OrtCalls {
    const OrtApi* table;
    OrtEntry<2, const char*(const OrtStatus*)> get_error_message{table};
    OrtEntry<3, OrtStatus*(OrtLog, const char*, OrtEnv**)> create_env{table};
    OrtEntry<8, OrtStatus*(const OrtEnv*, const void*, std::size_t, const OrtSessionOptions*, OrtSession**)>
        create_session_from_array{table};
    OrtEntry<9, OrtStatus*(OrtSession*, const OrtRunOptions*, const char* const*, const OrtValue* const*, std::size_t,
                           const char* const*, std::size_t, OrtValue**)>
        run{table};
    OrtEntry<10, OrtStatus*(OrtSessionOptions**)> create_session_options{table};
    OrtEntry<22, OrtStatus*(OrtSessionOptions*, int)> set_session_log_severity_level{table};
    OrtEntry<24, OrtStatus*(OrtSessionOptions*, int)> set_intra_op_num_threads{table};
    OrtEntry<25, OrtStatus*(OrtSessionOptions*, int)> set_inter_op_num_threads{table};
    OrtEntry<30, OrtStatus*(const OrtSession*, std::size_t*)> session_get_input_count{table};
    OrtEntry<31, OrtStatus*(const OrtSession*, std::size_t*)> session_get_output_count{table};
    OrtEntry<33, OrtStatus*(const OrtSession*, std::size_t, OrtTypeInfo**)> session_get_input_type_info{table};
    OrtEntry<34, OrtStatus*(const OrtSession*, std::size_t, OrtTypeInfo**)> session_get_output_type_info{table};
    OrtEntry<36, OrtStatus*(const OrtSession*, std::size_t, OrtAllocator*, char**)> session_get_input_name{table};
    OrtEntry<37, OrtStatus*(const OrtSession*, std::size_t, OrtAllocator*, char**)> session_get_output_name{table};
    OrtEntry<49, OrtStatus*(const OrtMemoryInfo*, void*, std::size_t, const std::int64_t*, std::size_t, OrtElement,
                            OrtValue**)>
        create_tensor_with_data_as_ort_value{table};
    OrtEntry<55, OrtStatus*(const OrtTypeInfo*, const OrtTensorTypeAndShapeInfo**)>
        cast_type_info_to_tensor_info{table};
    OrtEntry<60, OrtStatus*(const OrtTensorTypeAndShapeInfo*, OrtElement*)> get_tensor_element_type{table};
    OrtEntry<61, OrtStatus*(const OrtTensorTypeAndShapeInfo*, std::size_t*)> get_dimensions_count{table};
    OrtEntry<62, OrtStatus*(const OrtTensorTypeAndShapeInfo*, std::int64_t*, std::size_t)> get_dimensions{table};
    OrtEntry<69, OrtStatus*(OrtAllocation, OrtMemory, OrtMemoryInfo**)> create_cpu_memory_info{table};
    OrtEntry<76, OrtStatus*(OrtAllocator*, void*)> allocator_free{table};
    OrtEntry<78, OrtStatus*(OrtAllocator**)> get_allocator_with_default_options{table};
    OrtEntry<92, void(OrtEnv*)> release_env{table};
    OrtEntry<93, void(OrtStatus*)> release_status{table};
    OrtEntry<94, void(OrtMemoryInfo*)> release_memory_info{table};
    OrtEntry<95, void(OrtSession*)> release_session{table};
    OrtEntry<96, void(OrtValue*)> release_value{table};
    OrtEntry<98, void(OrtTypeInfo*)> release_type_info{table};
    OrtEntry<100, void(OrtSessionOptions*)> release_session_options{table};
    OrtEntry<130, OrtStatus*(OrtSessionOptions*, const char*, const char*)> add_session_config_entry{table};
};

template <class T>
using Owned = std::unique_ptr<T, void (*)(T*)>;

/// The library of ONNX Runtime, opened by its path; it stays open until the process ends.
class Ort {
public:
    const OrtCalls api;

    explicit Ort(const std::string& path)
        : api{opened(path)}, env_(nullptr, api.release_env), memory_(nullptr, api.release_memory_info) {
        OrtEnv* env = nullptr;
        hold(api.create_env(OrtLog::fatal, "wmctrl", &env), "no environment");
        env_.reset(env);
        OrtMemoryInfo* memory = nullptr;
        hold(api.create_cpu_memory_info(OrtAllocation::device, OrtMemory::standard, &memory), "no memory");
        memory_.reset(memory);
    }

    /// Refuse, with its reason, what ONNX Runtime refuses.
    void hold(OrtStatus* status, const std::string& what) const {
        if (status == nullptr) return;
        const std::string reason = shown(api.get_error_message(status), 1000);
        api.release_status(status);
        fail("ONNX Runtime: ", what, ": ", reason);
    }

    Owned<OrtSession> session(const std::string& content, const std::string& file, int threads) const {
        OrtSessionOptions* made = nullptr;
        hold(api.create_session_options(&made), file);
        const Owned<OrtSessionOptions> options(made, api.release_session_options);
        hold(api.set_intra_op_num_threads(made, threads), file);
        hold(api.set_inter_op_num_threads(made, 1), file);
        hold(api.set_session_log_severity_level(made, static_cast<int>(OrtLog::fatal)), file);
        // A waiting thread leaves its core to others.
        hold(api.add_session_config_entry(made, "session.intra_op.allow_spinning", "0"), file);
        OrtSession* session = nullptr;
        hold(api.create_session_from_array(env_.get(), content.data(), content.size(), made, &session), file);
        return {session, api.release_session};
    }

    static OrtElement element(const Port& port) { return port.is_bytes ? OrtElement::uint8 : OrtElement::float32; }

    /// A tensor in memory that someone else keeps.
    Owned<OrtValue> value(void* data, std::size_t bytes, const Port& port) const {
        const Shape& shape = port.shape;
        OrtValue* made = nullptr;
        hold(api.create_tensor_with_data_as_ort_value(memory_.get(), data, bytes, shape.data(), shape.size(),
                                                      element(port), &made),
             port.name);
        return {made, api.release_value};
    }

    std::pair<OrtElement, Shape> tensor_type(const OrtTypeInfo& type) const {
        const OrtTensorTypeAndShapeInfo* tensor = nullptr;
        hold(api.cast_type_info_to_tensor_info(&type, &tensor), "a type");
        if (tensor == nullptr) return {OrtElement::undefined, {}};
        OrtElement element = OrtElement::undefined;
        std::size_t rank = 0;
        hold(api.get_tensor_element_type(tensor, &element), "a type");
        hold(api.get_dimensions_count(tensor, &rank), "a type");
        Shape shape(rank);
        hold(api.get_dimensions(tensor, shape.data(), rank), "a type");
        return {element, shape};
    }

private:
    Owned<OrtEnv> env_;
    Owned<OrtMemoryInfo> memory_;

    static const OrtApi* opened(const std::string& path) {
        void* library = ::dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
        if (library == nullptr)
            fail("ONNX Runtime's library cannot be opened: ", shown(::dlerror(), 1000),
                 "; Python's onnxruntime package holds one, capi/libonnxruntime.so.*");
        const auto base = reinterpret_cast<const OrtBase* (*)()>(::dlsym(library, "OrtGetApiBase"));
        if (base == nullptr) fail(path, ": is not ONNX Runtime's library, it has no OrtGetApiBase");
        const OrtApi* found = base()->get_api(API_VERSION);
        if (found == nullptr)
            fail(path, ": is ONNX Runtime ", base()->get_version_string(), ", needed is 1.16 or newer");
        return found;
    }
};

/// A graph with the memory of its inputs and outputs, which is made once.
class Session {
public:
    Session(std::shared_ptr<const Ort> ort, const Graph& graph, const std::string& content, int threads)
        : ort_(std::move(ort)),
          file_(graph.file),
          session_(ort_->session(with_constant_parameters(content, graph.file), graph.file, threads)),
          inputs_(*ort_, graph.inputs),
          outputs_(*ort_, graph.outputs) {
        const OrtCalls& api = ort_->api;
        hold("input", graph.inputs, api.session_get_input_count, api.session_get_input_name,
             api.session_get_input_type_info);
        hold("output", graph.outputs, api.session_get_output_count, api.session_get_output_name,
             api.session_get_output_type_info);
    }
    Session(const Session&) = delete;  // its values point into it

    std::vector<float>& input(std::string_view name) { return inputs_.at(name).floats; }
    std::vector<std::uint8_t>& input_bytes(std::string_view name) { return inputs_.at(name).bytes; }
    const std::vector<float>& output(std::string_view name) { return outputs_.at(name).floats; }

    void run() {
        const auto status =
            ort_->api.run(session_.get(), nullptr, inputs_.names.data(), inputs_.values.data(), inputs_.names.size(),
                          outputs_.names.data(), outputs_.names.size(), outputs_.values.data());
        ort_->hold(status, file_);
    }

private:
    struct Slot {
        std::string name;
        std::vector<float> floats;
        std::vector<std::uint8_t> bytes;  // instead of floats, where the port is of bytes
        Owned<OrtValue> value;
    };

    /// The slots of all ports, and what ONNX Runtime wants to be told of them.
    struct Slots {
        std::vector<Slot> held;
        std::vector<const char*> names;
        std::vector<OrtValue*> values;

        Slots(const Ort& ort, const std::vector<Port>& ports) {
            held.reserve(ports.size());  // so that names stay where they are
            for (const Port& port : ports) {
                Slot& slot = held.emplace_back(Slot{port.name, {}, {}, {nullptr, ort.api.release_value}});
                slot.floats.resize(port.is_bytes ? 0 : volume(port.shape));
                slot.bytes.resize(port.is_bytes ? volume(port.shape) : 0);
                void* data = port.is_bytes ? static_cast<void*>(slot.bytes.data()) : slot.floats.data();
                slot.value = ort.value(data, slot.bytes.size() + sizeof(float) * slot.floats.size(), port);
                names.push_back(slot.name.c_str());
                values.push_back(slot.value.get());
            }
        }

        Slot& at(std::string_view name) {
            for (Slot& slot : held)
                if (slot.name == name) return slot;
            throw std::logic_error("ports were to be held at loading, and " + std::string(name) + " is missing");
        }
    };

    std::shared_ptr<const Ort> ort_;
    std::string file_;
    Owned<OrtSession> session_;
    Slots inputs_, outputs_;

    /// Hold the graph's inputs or outputs to what the manifest tells of them.
    template <class Count, class Name, class Type>
    void hold(const char* what, const std::vector<Port>& told, Count count_of, Name name_of, Type type_of) const {
        std::size_t count = 0;
        ort_->hold(count_of(session_.get(), &count), file_);
        if (count != told.size()) fail(file_, ": has ", count, " ", what, "s, the manifest tells ", told.size());
        OrtAllocator* allocator = nullptr;
        ort_->hold(ort_->api.get_allocator_with_default_options(&allocator), file_);
        for (std::size_t i = 0; i < count; ++i) {
            char* came = nullptr;
            ort_->hold(name_of(session_.get(), i, allocator, &came), file_);
            const std::string name(came);
            ort_->hold(ort_->api.allocator_free(allocator, came), file_);
            OrtTypeInfo* made = nullptr;
            ort_->hold(type_of(session_.get(), i, &made), file_);
            const Owned<OrtTypeInfo> type(made, ort_->api.release_type_info);
            const auto [element, shape] = ort_->tensor_type(*type);
            if (name != told[i].name || element != Ort::element(told[i]) || shape != told[i].shape)
                fail(file_, ": has the ", what, " ", shown(name), " ", shown(shape), ", the manifest tells ",
                     shown(told[i].name), " ", shown(told[i].shape));
        }
    }
};

// --------------------------------------------------------------------------------------------------------------- noise

/// A whole number that looks random, from one that counts (splitmix64, Steele et al. 2014).
inline std::uint64_t scrambled(std::uint64_t number) {
    number += 0x9E3779B97F4A7C15u;
    number = (number ^ number >> 30) * 0xBF58476D1CE4E5B9u;
    number = (number ^ number >> 27) * 0x94D049BB133111EBu;
    return number ^ number >> 31;
}

/// Sequences along the horizon, drawn at export, that are dealt to decisions as a counter and a seed tell.
class NoiseBank {
public:
    NoiseBank(Tensors arrays, const Shapes& shapes) : arrays_(std::move(arrays)), shapes_(shapes) {
        for (const auto& [name, shape] : shapes) {
            const auto found = arrays_.find(name);
            if (found == arrays_.end()) fail("noise.safetensors: ", name, " is missing");
            const Tensor& array = found->second;
            const Shape wanted = {SEQUENCES, shape[1]};
            if (array.is_bytes || array.shape != wanted)
                fail("noise.safetensors: ", name, " must be of shape ", shown(wanted), ", came ", shown(array.shape));
        }
        reset(0);
    }

    void reset(std::uint64_t seed) { number_ = scrambled(seed); }

    /// Deal a kind of noise (rows, H, size): every column of every row is a sequence of the bank.
    void deal(std::string_view name, std::vector<float>& noise) {
        const Shape& shape = shapes_.find(name)->second;
        const auto rows = static_cast<std::size_t>(shape[0]), H = static_cast<std::size_t>(shape[1]),
                   size = static_cast<std::size_t>(shape[2]);
        const float* bank = arrays_.find(name)->second.floats.data();
        const std::uint64_t first = scrambled(number_++);
        for (std::size_t column = 0; column < rows * size; ++column) {
            const float* sequence = bank + scrambled(first + column) % SEQUENCES * H;
            float* dealt = noise.data() + column / size * H * size + column % size;
            for (std::size_t step = 0; step < H; ++step) dealt[step * size] = sequence[step];
        }
    }

private:
    static constexpr std::int64_t SEQUENCES = 1 << 12;

    Tensors arrays_;
    Shapes shapes_;
    std::uint64_t number_ = 0;
};

// ---------------------------------------------------------------------------------------------------------- controller

/// What the plant shows, in the manifest's order and units; parts that the bundle does not take are not looked at.
struct Observation {
    Span<float> proprio;
    Span<std::uint8_t> camera;  // height x width x channels
    Span<float> goal;
};

/// What is sent to the plant, and how it was made.
struct Action {
    std::vector<float> command;     // (A,) in [-1, 1]
    float surprise = 0.0f;          // of the observation, given what was expected [nats]
    bool planned = false;           // false where the policy reacted, and there is no health
    std::array<float, HEALTH> health{};  // of the last iteration: best, worst elite, finite fraction, spread, failure
    double seconds = 0.0;           // that the decision took
};

/// Drives one plant with a bundle.
class Controller {
public:
    /// Read a bundle, check all of it, and repeat its golden steps on this machine.
    ///
    /// @param ort_library Path of libonnxruntime.so, such as the one in Python's onnxruntime package.
    /// @param policy_only React without planning.
    static Controller load(const std::string& folder, const std::string& ort_library, int threads = 1,
                           bool policy_only = false) {
        const auto [manifest, kept] = read_bundle(folder);
        if (policy_only && !manifest.graphs.count("policy"))
            fail("this bundle holds no policy; drive it without policy_only (--policy)");
        Controller made(manifest, kept, std::make_shared<const Ort>(ort_library), threads, policy_only);
        made.repeat_golden();
        return made;
    }

    const Manifest& manifest() const { return manifest_; }

    /// Forget everything, before the first observation of an episode; the same seed decides the same.
    void reset(std::uint64_t seed = 0) {
        Session& observe = session("observe");
        for (const char* name : {"deter", "stoch", "action"}) fill(observe.input(name), 0.0f);
        if (planned_) {
            Session& refine = session("refine");
            for (const char* name : {"plan_mean", "plan_elites"}) fill(refine.input(name), 0.0f);
            fill(refine.input("plan_std"), static_cast<float>(manifest_.planning->init_std));
        }
        noise_.reset(seed);
    }

    /// Change what a plan is worth from the next decision on.
    void set_weight(const std::string& name, double weight) {
        const auto found =
            std::find_if(weights_.begin(), weights_.end(), [&](const auto& one) { return one.first == name; });
        if (found == weights_.end()) {
            std::vector<std::string> known;
            for (const auto& one : weights_) known.push_back(one.first);
            fail(shown(name), " is not weighed in this bundle; known: ", listed(known));
        }
        hold_weight(name, weight);
        found->second = weight;
    }

    /// Hold candidates and commands to limits (A,), (A,) within [-1, 1], from the next decision on.
    void set_limits(const std::vector<float>& low, const std::vector<float>& high) {
        if (low.size() != low_.size() || high.size() != high_.size())
            fail("limits must have ", low_.size(), " elements, came ", low.size(), " and ", high.size());
        for (std::size_t i = 0; i < low.size(); ++i)
            if (!(low[i] >= -1.0f && low[i] <= high[i] && high[i] <= 1.0f))
                fail("limits must be within [-1, 1], the lower at most the upper");
        low_ = low, high_ = high;
    }

    /// Hold them to a largest change (A,) from one step to the next, at least 0, as well.
    void set_rate(const std::vector<float>& rate) {
        if (rate.size() != rate_.size()) fail("a rate must have ", rate_.size(), " elements, came ", rate.size());
        for (float one : rate)
            if (!(one >= 0.0f)) fail("a rate must be at least 0, came ", one);
        rate_ = rate;
    }

    /// Plan within a probability of failing, where there is a plan that has no larger one; 1 is any.
    void set_risk(float risk) {
        if (!(risk >= 0.0f && risk <= 1.0f)) fail("a risk must be from 0 to 1, came ", risk);
        risk_ = risk;
    }

    /// The action after an observation; valid until the next call. Where the observation is refused, or what is
    /// computed of it is not finite, the belief is as it was.
    const Action& act(const Observation& seen) {
        const auto began = std::chrono::steady_clock::now();
        hold_seen(seen);
        Session& belief = session("observe");
        assign(deter_before_, belief.input("deter"));
        assign(stoch_before_, belief.input("stoch"));
        observe(seen);
        if (planned_) refine(seen);
        else react(seen);
        if (!is_finite(action_.command)) {
            assign(belief.input("deter"), deter_before_);
            assign(belief.input("stoch"), stoch_before_);
            fail("what is decided is not finite; check the goal");
        }
        const std::vector<float>& last = belief.input("action");
        for (std::size_t i = 0; i < action_.command.size(); ++i) {
            const float reached =
                std::min(std::max(action_.command[i], last[i] - rate_[i]), last[i] + rate_[i]);
            action_.command[i] = std::min(std::max(reached, low_[i]), high_[i]);
        }
        assign(belief.input("action"), action_.command);
        action_.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
        return action_;
    }

    /// Compute the golden steps again, the belief carried on from step to step, and hold what comes to what came; then
    /// begin anew.
    void repeat_golden() {
        std::size_t steps = golden_.empty() ? 0 : std::numeric_limits<std::size_t>::max();
        for (const auto& entry : golden_)
            if (!entry.second.shape.empty()) steps = std::min(steps, entry.second.rows());
        if (steps == 0 || steps > MOST_GOLDEN)
            fail("golden.safetensors: must hold from 1 to ", MOST_GOLDEN, " steps");
        for (std::size_t step = 0; step < steps; ++step)
            for (const char* name : GRAPHS)
                if (manifest_.graphs.count(name)) repeat_golden(name, step);
        reset();
    }

private:
    Manifest manifest_;
    Tensors golden_;
    std::map<std::string, Session, std::less<>> sessions_;
    NoiseBank noise_;
    bool planned_;
    std::vector<std::pair<std::string, double>> weights_;
    std::vector<float> low_, high_, rate_;
    float risk_ = 1.0f;
    std::vector<float> deter_before_, stoch_before_;
    Action action_;

    Controller(const Manifest& manifest, const std::map<std::string, std::string>& contents,
               std::shared_ptr<const Ort> ort, int threads, bool policy_only)
        : manifest_(manifest),
          golden_(parse_tensors(contents.at("golden.safetensors"), "golden.safetensors")),
          noise_(parse_tensors(contents.at("noise.safetensors"), "noise.safetensors"),
                 manifest.planning ? noise_shapes(manifest.planning->randomness) : Shapes()),
          planned_(manifest.planning && !policy_only),
          weights_(manifest.weights),
          low_(static_cast<std::size_t>(manifest.action), -1.0f),
          high_(static_cast<std::size_t>(manifest.action), 1.0f),
          rate_(static_cast<std::size_t>(manifest.action), LARGEST_RATE) {
        for (const char* name : GRAPHS)
            if (const auto found = manifest_.graphs.find(name); found != manifest_.graphs.end())
                sessions_.try_emplace(name, ort, found->second, contents.at(found->second.file), threads);
        action_.command.resize(static_cast<std::size_t>(manifest.action));
        action_.planned = planned_;
        deter_before_ = session("observe").input("deter");
        stoch_before_ = session("observe").input("stoch");
    }

    Session& session(std::string_view name) { return sessions_.find(name)->second; }

    static void fill(std::vector<float>& to, float value) { std::fill(to.begin(), to.end(), value); }

    static bool is_finite(const std::vector<float>& values) {
        return std::all_of(values.begin(), values.end(), [](float value) { return std::isfinite(value); });
    }

    static void hold_seen(Span<float> part, const char* name, std::size_t size) {
        if (part.size != size) fail(name, " must have ", size, " elements, came ", part.size);
        for (float value : part)
            if (!std::isfinite(value)) fail(name, " must be finite");
    }

    void hold_seen(const Observation& seen) const {
        if (manifest_.goal) hold_seen(seen.goal, "goal", static_cast<std::size_t>(manifest_.goal));
        if (manifest_.proprio) hold_seen(seen.proprio, "proprio", static_cast<std::size_t>(manifest_.proprio));
        if (!manifest_.camera.empty() && seen.camera.size != volume(manifest_.camera))
            fail("camera must have ", volume(manifest_.camera), " bytes, came ", seen.camera.size);
    }

    /// Update the belief with what the last action led to.
    void observe(const Observation& seen) {
        Session& observe = session("observe");
        if (manifest_.proprio) assign(observe.input("proprio"), seen.proprio);
        if (!manifest_.camera.empty())
            std::copy(seen.camera.begin(), seen.camera.end(), observe.input_bytes("camera").begin());
        observe.run();
        if (!is_finite(observe.output("next_deter")) || !is_finite(observe.output("next_stoch")))
            fail("what is believed after this observation is not finite; check the sensors' readings");
        assign(observe.input("deter"), observe.output("next_deter"));
        assign(observe.input("stoch"), observe.output("next_stoch"));
        action_.surprise = observe.output("surprise")[0];
    }

    /// Give a graph the belief, and the goal where the task has one.
    void believe(Session& graph, const Observation& seen) {
        Session& observe = session("observe");
        for (const char* name : {"deter", "stoch"}) assign(graph.input(name), observe.input(name));
        if (manifest_.goal) assign(graph.input("goal"), seen.goal);
    }

    void react(const Observation& seen) {
        Session& policy = session("policy");
        believe(policy, seen);
        policy.run();
        assign(action_.command, policy.output("next_action"));
    }

    /// Refine the carried plan, take its first action, and carry it on.
    void refine(const Observation& seen) {
        const Planning& p = *manifest_.planning;
        Session& refine = session("refine");
        believe(refine, seen);
        assign(refine.input("action"), session("observe").input("action"));
        assign(refine.input("low"), low_);
        assign(refine.input("high"), high_);
        assign(refine.input("rate"), rate_);
        refine.input("risk")[0] = risk_;
        for (std::size_t i = 0; i < weights_.size(); ++i)
            refine.input("weights")[i] = static_cast<float>(weights_[i].second);
        refine.input("failed")[0] = static_cast<float>(failed());
        if (p.randomness.particles > 1)
            for (const char* name : {"future_components", "future_values"}) noise_.deal(name, refine.input(name));
        if (p.randomness.proposals) propose(refine, seen);
        for (std::int64_t i = 0; i < p.iterations; ++i) {
            noise_.deal("candidates", refine.input("noise"));
            refine.run();
            assign(refine.input("plan_mean"), refine.output("next_plan_mean"));
            assign(refine.input("plan_std"), refine.output("next_plan_std"));
            assign(refine.input("plan_elites"), refine.output("next_plan_elites"));
        }
        std::copy_n(refine.input("plan_mean").begin(), action_.command.size(), action_.command.begin());
        std::copy_n(refine.output("health").begin(), HEALTH, action_.health.begin());
        shift(refine);
    }

    /// Ask the policy for action sequences; the first one is its own, without noise.
    void propose(Session& refine, const Observation& seen) {
        const Randomness& r = manifest_.planning->randomness;
        Session& propose = session("propose");
        believe(propose, seen);
        std::vector<float>& noise = propose.input("noise");
        noise_.deal("proposals", noise);
        std::fill_n(noise.begin(), r.horizon * r.action, 0.0f);
        propose.run();
        assign(refine.input("proposals"), propose.output("proposals"));
    }

    /// The plan one step later: every action moves up, the last is held, and the search opens up again.
    void shift(Session& refine) const {
        const std::ptrdiff_t A = manifest_.action, sequence = manifest_.planning->horizon * A;
        for (const char* name : {"plan_mean", "plan_std", "plan_elites"}) {
            std::vector<float>& plan = refine.input(name);
            for (auto at = plan.begin(); at != plan.end(); at += sequence) std::copy(at + A, at + sequence, at);
        }
        const Planning& p = *manifest_.planning;
        const auto share = static_cast<float>(1.0 - std::pow(1.0 - p.reopening, static_cast<double>(p.iterations)));
        const float opened = share * static_cast<float>(p.init_std);
        for (float& width : refine.input("plan_std")) width = opened + (1.0f - share) * width;
    }

    /// Reward per step of a failed plant, in the currency of what is weighed.
    double failed() const {
        double weighed = 0.0;
        for (const auto& [name, weight] : weights_)
            if (name == "reward" || name == "goal") weighed += weight;
        return (weighed == 0.0 ? 1.0 : weighed) * manifest_.failure_reward;
    }

    const Tensor& kept(const std::string& graph, const Port& port) const {
        const std::string key = graph + "." + port.name;
        const auto found = golden_.find(key);
        if (found == golden_.end()) fail("golden.safetensors: ", key, " is missing");
        const Tensor& array = found->second;
        if (array.is_bytes != port.is_bytes || array.shape.empty() ||
            !std::equal(array.shape.begin() + 1, array.shape.end(), port.shape.begin(), port.shape.end()))
            fail("golden.safetensors: ", key, " must hold ", shown(port.shape), " a step, is ", shown(array.shape));
        return array;
    }

    /// One step of a golden array of floats.
    Span<float> kept(const std::string& graph, const Port& port, std::size_t step) const {
        const std::size_t size = volume(port.shape);
        return {kept(graph, port).floats.data() + step * size, size};
    }

    void repeat_golden(const std::string& name, std::size_t step) {
        const Graph& graph = manifest_.graphs.find(name)->second;
        Session& computing = session(name);
        for (const Port& port : graph.inputs) {
            if (port.is_bytes) {
                const std::size_t size = volume(port.shape);
                std::copy_n(kept(name, port).bytes.begin() + static_cast<std::ptrdiff_t>(step * size), size,
                            computing.input_bytes(port.name).begin());
            } else {
                assign(computing.input(port.name), kept(name, port, step));
            }
        }
        if (name == "observe" && step > 0)  // goes on from what this machine computed
            for (const char* part : {"deter", "stoch"})
                assign(computing.input(part), computing.output("next_" + std::string(part)));
        computing.run();
        const std::string place = "golden.safetensors: step " + std::to_string(step) + ": " + name;
        double off = 0.0;
        for (const Port& port : graph.outputs) {
            const std::vector<float>& came = computing.output(port.name);
            if (!is_finite(came)) fail(place, " computes a ", port.name, " that is not finite here; ", REMEDY);
            if (port.name != "next_plan_elites") off = std::max(off, error(came, kept(name, port, step)));
        }
        if (name == "refine") off = plan_error(graph, computing, step, off);
        if (name == "propose") off = proposal_error(computing.output("proposals"), kept(name, graph.outputs[0], step));
        if (!(off <= manifest_.golden_tolerance))
            fail(place, " is ", off, " off what the exporting machine computed, above ", manifest_.golden_tolerance, "; ",
                 REMEDY);
    }

    /// How far proposals (P, H, A) are from golden ones.
    ///
    /// They follow what the model imagines, which may branch: a rounding there leads somewhere else. Their first actions
    /// must come out, and half of them to the end.
    double proposal_error(const std::vector<float>& came, Span<float> golden) const {
        const std::size_t size = came.size() / static_cast<std::size_t>(manifest_.planning->randomness.proposals);
        double first = 0.0;
        std::vector<double> sequences;
        for (std::size_t at = 0; at < came.size(); at += size) {
            double most = 0.0;
            for (std::size_t i = 0; i < size; ++i) {
                most = std::max(most, error(came[at + i], golden.data[at + i]));
                if (i < static_cast<std::size_t>(manifest_.action)) first = std::max(first, most);
            }
            sequences.push_back(most);
        }
        std::sort(sequences.begin(), sequences.end());
        return std::max(first, sequences[(sequences.size() - 1) / 2]);
    }

    /// How far a refined plan is from the golden one.
    ///
    /// Rounding chooses between candidates that are worth the same. Up to half of the elites may be others than the
    /// golden ones, or all where the best is worth no more than the worst, if both are still worth as much; each of
    /// them may move the mean by its share of the actions' range.
    ///
    /// @param same The error where no elite is another one.
    double plan_error(const Graph& graph, Session& refine, std::size_t step, double same) const {
        const auto golden = [&](const std::string& output) {
            const auto is = [&](const Port& port) { return port.name == output; };
            return kept("refine", *std::find_if(graph.outputs.begin(), graph.outputs.end(), is), step);
        };
        const Span<float> elites = golden("next_plan_elites"), health = golden("health");
        const std::vector<float>& came = refine.output("next_plan_elites");
        const std::size_t E = static_cast<std::size_t>(manifest_.planning->elites), sequence = elites.size / E;
        std::size_t exchanged = 0;
        for (std::size_t i = 0; i < E; ++i) {
            double nearest = std::numeric_limits<double>::infinity();
            for (std::size_t j = 0; j < E; ++j) {
                float most = 0.0f;
                for (std::size_t k = 0; k < sequence; ++k)
                    most = std::max(most, std::abs(came[i * sequence + k] - elites.data[j * sequence + k]));
                nearest = std::min(nearest, static_cast<double>(most));
            }
            exchanged += nearest > manifest_.golden_tolerance;
        }
        const bool flat = error(health.data[0], health.data[1]) <= manifest_.golden_tolerance;
        if (exchanged > E / 2 && !flat) return std::numeric_limits<double>::infinity();
        if (exchanged == 0) return same;
        double worth = 0.0;
        for (std::size_t i = 0; i < 3; ++i)
            worth = std::max(worth, error(refine.output("health")[i], health.data[i]));
        const double share = 2.0 * static_cast<double>(exchanged) / static_cast<double>(E);
        return std::max(worth, error(refine.output("next_plan_mean"), golden("next_plan_mean")) - share);
    }

    /// The difference from a golden value, relative to 1 + its size; infinite where it is not a number.
    static double error(double came, double kept) {
        const double found = std::abs(came - kept) / (1.0 + std::abs(kept));
        return std::isnan(found) ? std::numeric_limits<double>::infinity() : found;
    }

    /// The largest one of two arrays.
    static double error(const std::vector<float>& came, Span<float> kept) {
        double most = 0.0;
        for (std::size_t i = 0; i < came.size(); ++i) most = std::max(most, error(came[i], kept.data[i]));
        return most;
    }
};

}  // namespace wmctrl

#endif
