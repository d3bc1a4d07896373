/* A convolution in C: forward, and the gradients, which are checked to be adjoints of it.
 * cc conv3d.c $(pkg-config --cflags --libs znn) -lm && ./a.out */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <znn.h>

static void check(znn_status status) {
    if (status != ZNN_STATUS_OK) {
        fprintf(stderr, "znn: %s\n", znn_last_error());
        exit(1);
    }
}

static float *floats(size_t len) {
    float *values = malloc(len * sizeof *values);
    if (!values) abort();
    for (size_t i = 0; i < len; i++) values[i] = (float)((i * 7919) % 1009) / 1009.0f - 0.5f;
    return values;
}

static double dot(const float *a, const float *b, size_t len) {
    double sum = 0.0;
    for (size_t i = 0; i < len; i++) sum += (double)a[i] * (double)b[i];
    return sum;
}

int main(void) {
    znn_engine_options engine_options = {0};
    engine_options.threads = 2;
    znn_engine *engine = NULL;
    check(znn_engine_new(&engine_options, &engine));
    printf("znn %s, %zu threads\n", znn_version(), znn_engine_threads(engine));

    znn_conv3d_options options;
    check(znn_conv3d_options_init(&options));
    options.batch = 2;
    options.c_in = 4;
    options.c_out = 6;
    for (int axis = 0; axis < 3; axis++) {
        options.input[axis] = 12;
        options.kernel[axis] = 3;
        options.padding_before[axis] = options.padding_after[axis] = 1;
    }
    znn_conv3d *conv = NULL;
    check(znn_conv3d_new(engine, &options, &conv));
    /* The plan keeps the threads. */
    znn_engine_free(engine);

    size_t output[3];
    check(znn_conv3d_output_extent(conv, output));
    size_t x_len = znn_conv3d_x_len(conv), y_len = znn_conv3d_y_len(conv);
    size_t weights_len = znn_conv3d_weights_len(conv);
    if (y_len != options.batch * options.c_out * output[0] * output[1] * output[2]) return 1;

    float *x = floats(x_len), *weights = floats(weights_len), *dy = floats(y_len), *y = floats(y_len);
    float *dx = floats(x_len), *dweights = floats(weights_len), *dbias = floats(options.c_out);
    check(znn_conv3d_forward(conv, x, weights, NULL, y));
    check(znn_conv3d_backward_data(conv, dy, weights, dx));
    check(znn_conv3d_backward_weights(conv, x, dy, dweights));
    check(znn_conv3d_backward_bias(conv, dy, dbias));

    double product = dot(y, dy, y_len), scale = sqrt(dot(y, y, y_len) * dot(dy, dy, y_len));
    double by_data = dot(x, dx, x_len), by_weights = dot(weights, dweights, weights_len);
    printf("%g, %g, %g\n", product, by_data, by_weights);
    if (fabs(product - by_data) > 1e-5 * scale || fabs(product - by_weights) > 1e-5 * scale) return 1;

    /* The bias is added to every voxel of its map. */
    float bias[6] = {0, 1, 2, 3, 4, 5}, *biased = floats(y_len);
    check(znn_conv3d_forward(conv, x, weights, bias, biased));
    size_t voxels = y_len / (options.batch * options.c_out);
    for (size_t i = 0; i < y_len; i++) {
        float expected = y[i] + bias[i / voxels % options.c_out];
        if (fabsf(biased[i] - expected) > 1e-4f) return 1;
    }

    /* Mistakes are told, and end no program. */
    if (znn_conv3d_forward(conv, NULL, weights, NULL, y) != ZNN_STATUS_INVALID_ARGUMENT) return 1;
    if (strcmp(znn_last_error(), "x is NULL") != 0) return 1;
    if (znn_conv3d_forward(conv, x, weights, NULL, x) != ZNN_STATUS_INVALID_ARGUMENT) return 1;
    printf("as it should be: %s\n", znn_last_error());
    options.input[2] = 0;
    znn_conv3d *wrong = NULL;
    if (znn_conv3d_new(NULL, &options, &wrong) != ZNN_STATUS_INVALID_ARGUMENT || wrong) return 1;

    printf("all passes agree\n");
    znn_conv3d_free(conv);
    znn_conv3d_free(NULL);
    free(x), free(weights), free(dy), free(y), free(dx), free(dweights), free(dbias), free(biased);
    return 0;
}
