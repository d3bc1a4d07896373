// znn: training and inference of 3D convolutional networks on many-core CPUs.
//
// Conventions
//   Sizes       are in the order z, y, x; x is contiguous in memory. A 2D image has one voxel along z.
//   Arrays      are 32-bit floats, aligned to 4 bytes. They belong to the caller, need not live longer than the call, and
//               must have the lengths that the plan tells; those written must not overlap any other array of the call.
//   Weights     are [c_out][c_in][kz][ky][kx], applied as a cross-correlation.
//   Handles     are made by *_new or *_load and ended by the function *_free of their kind, once; NULL is ignored there.
//               Plans and networks keep their engine's threads alive: handles may be freed in any order.
//   Errors      A function that fails returns another status than ZNN_STATUS_OK, and znn_last_error() tells why. What it
//               should have written is then undefined. NULL where an array or handle is expected is such an error.
//   Threads     Any function may be called from any thread. Calls with one handle take turns, and so do the computations
//               of one engine. A handle must not be freed while another thread uses it.

#ifndef ZNN_H
#define ZNN_H

#include <stddef.h>
#include <stdint.h>

// All passes.
#define ZNN_PASSES_TRAINING 0

// Forward alone.
#define ZNN_PASSES_INFERENCE 1

// Forward and backward-weights: a layer on the input of a network.
#define ZNN_PASSES_FIRST_LAYER 2

// Whichever algorithm measures fastest, on the plan's own sizes.
#define ZNN_ALGORITHM_MEASURE 0

// Whichever a model of the work says is fastest; the same on every run.
#define ZNN_ALGORITHM_ESTIMATE 1

// Direct convolution.
#define ZNN_ALGORITHM_DIRECT 2

// Products of spectra; direct convolution where there is stride or padding.
#define ZNN_ALGORITHM_FFT 3

// Winograd tiles; direct convolution where the kernel has axes of neither 1 nor 3 taps.
#define ZNN_ALGORITHM_WINOGRAD 4

// `f(x) = x`.
#define ZNN_TRANSFER_IDENTITY 0

// `max(x, 0)`.
#define ZNN_TRANSFER_RELU 1

// `1 / (1 + exp(-x))`.
#define ZNN_TRANSFER_LOGISTIC 2

// The hyperbolic tangent.
#define ZNN_TRANSFER_TANH 3

// Gradient descent with momentum.
#define ZNN_OPTIMISER_SGD 0

// Gradient descent with momentum that looks ahead.
#define ZNN_OPTIMISER_NESTEROV 1

// Adam, with the weight decay as a part of the gradient.
#define ZNN_OPTIMISER_ADAM 2

// Adam, with the weight decay apart from the gradient.
#define ZNN_OPTIMISER_ADAMW 3

// How a function ended.
typedef enum {
    // As it should.
    ZNN_STATUS_OK = 0,
    // An argument is not what it should be.
    ZNN_STATUS_INVALID_ARGUMENT = 1,
    // There is not enough memory.
    ZNN_STATUS_OUT_OF_MEMORY = 2,
    // A file cannot be read or written.
    ZNN_STATUS_FILE = 3,
    // A defect of the library. The handle can be used again.
    ZNN_STATUS_INTERNAL = 4,
} znn_status;

// A planned convolution.
typedef struct znn_conv3d znn_conv3d;

// Threads, kernels and measurements, which plans and networks share.
typedef struct znn_engine znn_engine;

// A network with its parameters: one input, one output.
typedef struct znn_network znn_network;

// A convolution: `y[n][o][p] = transfer(bias[o] + sum over i, k of w[o][i][k] x[n][i][p * stride + k * dilation -
// padding_before])`, where x is 0 outside. Sizes are in the order z, y, x. Begin with znn_conv3d_options_init.
typedef struct {
    // Images of a call.
    size_t batch;
    // Input maps.
    size_t c_in;
    // Output maps.
    size_t c_out;
    // Voxels of an input map.
    size_t input[3];
    // Taps of the kernel.
    size_t kernel[3];
    // Distance of neighbouring taps.
    size_t dilation[3];
    // Distance in the input between two neighbours of the output.
    size_t stride[3];
    // Zeros before the input.
    size_t padding_before[3];
    // Zeros behind the input.
    size_t padding_after[3];
    // Floats from an image of x and dx to the next, and from a map to the next of its image; both 0: contiguous.
    size_t x_strides[2];
    // The same for y and dy.
    size_t y_strides[2];
    // One of ZNN_PASSES_*: what will be called.
    uint32_t passes;
    // One of ZNN_ALGORITHM_*.
    uint32_t algorithm;
    // One of ZNN_TRANSFER_*.
    uint32_t transfer;
} znn_conv3d_options;

// How an engine is made. All zero: the default.
typedef struct {
    // Worker threads; 0: one for each core that the process may use.
    size_t threads;
    // The processors of the workers, by the system's numbers, as an array of `cores_len`; NULL: any that the process may
    // use.
    const size_t *cores;
    // The length of `cores`.
    size_t cores_len;
    // Bytes that a convolution may take for what its algorithm derives from weights and images; 0: 2 GiB.
    size_t workspace;
    // The file that keeps which algorithms measured fastest, in UTF-8; NULL: they are measured again by each engine.
    const char *tuning;
    // 1: results have the same bits for any number of threads, and from run to run; else 0.
    uint32_t deterministic;
} znn_engine_options;

// How a network is trained. Begin with znn_training_options_init.
typedef struct {
    // The learning rate of groups without one of their own; not negative. It may change from call to call; with other
    // values of the rest, the next step is planned anew.
    float rate;
    // Momentum of ZNN_OPTIMISER_SGD and ZNN_OPTIMISER_NESTEROV, from 0 to below 1.
    float momentum;
    // Weight decay, from 0 to 1.
    float weight_decay;
    // One of ZNN_OPTIMISER_*.
    uint32_t optimiser;
    // Adam: the parts of the mean gradient and of the mean squared gradient that stay, from 0 to below 1.
    double betas[2];
    // Adam: added to the root of the mean squared gradient; above 0.
    double epsilon;
    // The calls whose gradients are averaged for one update, which the last of them makes; 1 to 65536.
    size_t batch;
    // Gradients are brought within minus this and this; 0: they are not.
    float clip_value;
    // All gradients are shortened by one factor where the root of the sum of their squares is above this; 0: they are not.
    float clip_norm;
} znn_training_options;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// The version of the library, as in `0.1.0`. Static.
const char *znn_version(void);

// Sets `*options` to one image, a kernel of one tap, stride and dilation 1, no padding, contiguous arrays, all passes,
// the algorithm measured, no transfer function. Maps and image sizes are 0 and must be set.
znn_status znn_conv3d_options_init(znn_conv3d_options *options);

// Plans a convolution, which `*conv` becomes. Measuring takes a fraction of a second the first time that an engine meets
// a problem.
znn_status znn_conv3d_new(const znn_engine *engine,
                          const znn_conv3d_options *options,
                          znn_conv3d **conv);

// Ends a plan.
void znn_conv3d_free(znn_conv3d *conv);

// Tells the voxels of an output map.
//
znn_status znn_conv3d_output_extent(const znn_conv3d *conv, size_t output[3]);

// Floats of x and dx, from the first to the last; 0 for NULL.
size_t znn_conv3d_x_len(const znn_conv3d *conv);

// Floats of y and dy, from the first to the last; 0 for NULL.
size_t znn_conv3d_y_len(const znn_conv3d *conv);

// Floats of the weights and their gradient; 0 for NULL.
size_t znn_conv3d_weights_len(const znn_conv3d *conv);

// `y = transfer(x * weights + bias)`. `bias` has `c_out` floats, or is NULL.
znn_status znn_conv3d_forward(const znn_conv3d *conv,
                              const float *x,
                              const float *weights,
                              const float *bias,
                              float *y);

// The gradient by the input. `dy` is the gradient before the transfer function, see znn_conv3d_backward_transfer.
znn_status znn_conv3d_backward_data(const znn_conv3d *conv,
                                    const float *dy,
                                    const float *weights,
                                    float *dx);

// The gradient by the weights, summed over the batch.
znn_status znn_conv3d_backward_weights(const znn_conv3d *conv,
                                       const float *x,
                                       const float *dy,
                                       float *dweights);

// The gradient by the bias: the sum of `dy` over the batch and the voxels of each map; `c_out` floats.
znn_status znn_conv3d_backward_bias(const znn_conv3d *conv, const float *dy, float *dbias);

// Takes the gradient back through the transfer function, in place: `dy *= transfer'`, where `y` is what the forward pass
// gave; and gives the gradient by the bias, `c_out` floats.
znn_status znn_conv3d_backward_transfer(const znn_conv3d *conv,
                                        const float *y,
                                        float *dy,
                                        float *dbias);

// Starts the threads of a new engine, which `*engine` becomes. `options` may be NULL.
znn_status znn_engine_new(const znn_engine_options *options, znn_engine **engine);

// The number of worker threads; 0 for NULL.
size_t znn_engine_threads(const znn_engine *engine);

// Ends an engine. Its threads end with the last plan or network made of it.
void znn_engine_free(znn_engine *engine);

// Reads a model: a .safetensors file, an HDF5 file of the original ZNN, the folder of a training run, or the text of a
// network (.znn), whose parameters are then drawn by `seed`. `*network` becomes the handle.
znn_status znn_network_load(const znn_engine *engine,
                            const char *file,
                            uint64_t seed,
                            znn_network **network);

// Writes the model with its momentum as a .safetensors file, at once or not at all.
znn_status znn_network_save(const znn_network *network, const char *file);

// Ends a network.
void znn_network_free(znn_network *network);

// Tells the maps of input and output.
znn_status znn_network_maps(const znn_network *network, size_t *input, size_t *output);

// Tells the voxels of an output map of znn_network_forward for an image of extent `image`: its own, less the field of
// view, plus one.
//
znn_status znn_network_output_extent(const znn_network *network,
                                     const size_t image[3],
                                     size_t output[3]);

// Applies the network around every voxel of `x`, `[map][z][y][x]` of extent `image`, whose field of view lies inside; `y`
// is `[map][z][y][x]` of znn_network_output_extent. A plan is made when an extent differs from that of the call before.
//
znn_status znn_network_forward(const znn_network *network,
                               const float *x,
                               const size_t image[3],
                               float *y);

// Tells the voxels of an image from which the network, with its pooling as it is, makes an output of extent `output`:
// what znn_network_train_step takes.
//
znn_status znn_network_training_extent(const znn_network *network,
                                       const size_t output[3],
                                       size_t image[3]);

// Sets `*options` to gradient descent with a rate of 0.01 and a momentum of 0.9, without weight decay and clipping, an update
// at each call; for Adam, betas of 0.9 and 0.999 and an epsilon of 1e-8.
znn_status znn_training_options_init(znn_training_options *options);

// One iteration of training on an image `x` of znn_network_training_extent and what the network should make of it, `target`
// of extent `output`; both `[map][z][y][x]`. The loss is the squared error, the binomial cross-entropy for forward_logistics
// outputs, or the cross-entropy for a softmax; `*loss`, unless NULL, becomes its mean over the values before the update.
// Where it or a gradient is not finite, nothing is updated. `options` may be NULL: those of znn_training_options_init.
//
znn_status znn_network_train_step(const znn_network *network,
                                  const float *x,
                                  const float *target,
                                  const size_t output[3],
                                  const znn_training_options *options,
                                  double *loss);

// Why the last function that failed in the calling thread did so; empty where none has failed. It stays valid until
// the next failure in this thread.
const char *znn_last_error(void);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* ZNN_H */
