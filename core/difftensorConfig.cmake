# find_package(difftensor) gives two targets: difftensor::difftensor in float, and difftensor::difftensor_f64 in double.
include(CMakeFindDependencyMacro)
find_dependency(OpenMP COMPONENTS CXX)
find_dependency(PkgConfig)
pkg_check_modules(difftensor_openblas REQUIRED IMPORTED_TARGET openblas)

get_filename_component(difftensor_prefix "${CMAKE_CURRENT_LIST_DIR}/../../.." ABSOLUTE)
foreach(name difftensor difftensor_f64)
  if(NOT TARGET difftensor::${name})
    add_library(difftensor::${name} STATIC IMPORTED)
    set_target_properties(difftensor::${name} PROPERTIES
      IMPORTED_LOCATION "${difftensor_prefix}/lib/lib${name}.a"
      INTERFACE_INCLUDE_DIRECTORIES "${difftensor_prefix}/include;${difftensor_prefix}/include/difftensor"
      INTERFACE_COMPILE_FEATURES cxx_std_20
      INTERFACE_COMPILE_OPTIONS "-ffp-contract=off"
      INTERFACE_LINK_LIBRARIES "OpenMP::OpenMP_CXX;PkgConfig::difftensor_openblas")
  endif()
endforeach()
set_property(TARGET difftensor::difftensor_f64 PROPERTY INTERFACE_COMPILE_DEFINITIONS DT_DOUBLE)
