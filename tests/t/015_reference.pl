# The formats as an independent implementation sees them (tests/reference): it unwraps keys, opens values and recomputes
# tokens that the server made, and the server opens values and finds tokens that it made.

use strict;
use warnings FATAL => 'all';

use PgEncrypt::Test;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

# scripts/test-tap finds a Python that the server's user can run and that has what the reference stands on.
plan skip_all => 'no Python with the package "cryptography"' unless $ENV{PG_ENCRYPT_PYTHON};

my $node   = new_node('reference');
my ($root) = slurp_file(root_key_path($node)) =~ /(\w+)/;
my $helper = 'lib/reference_peer.py';

# Sends lines of tab-separated fields to the helper; its answer, one line for each.
sub reference
{
	my (@requests) = @_;
	my ($out, $err);
	my $in = join '', map { join("\t", @$_) . "\n" } @requests;
	IPC::Run::run([ $ENV{PG_ENCRYPT_PYTHON}, $helper, $root ], '<', \$in, '>', \$out, '2>', \$err)
	  or die "reference: $err";
	my @answers = split /\n/, $out, -1;
	pop @answers;
	die "reference: " . @answers . " answers to " . @requests . " requests: $err" unless @answers == @requests;
	return @answers;
}

# The lines of a query, as lists of fields.
sub rows
{
	my ($sql) = @_;
	return map { [ split /\|/, $_, -1 ] } split /\n/, $node->safe_psql('postgres', $sql);
}

$node->safe_psql('postgres', q{
	select encrypt.create_key('default');
	select encrypt.create_key('other');
	select encrypt.rotate_key('other');
	select encrypt.rotate_key('other', 'index');
});

# Keys. The helper keeps what it unwrapped for the requests that follow.
my @keys = map { [ 'key', @$_ ] } rows(q{
	select key_id, purpose, encode(wrapped_key, 'hex'), encode(check_value, 'hex'), root_id from encrypt.keys});
is(scalar @keys, 6, 'six keys');
is(join(' ', reference(@keys)), join(' ', ('unwrapped') x 6), 'the reference unwraps each: check value and root fit');

# Values of every type code, with what the documentation says their plaintext is.
my @values = (
	[ q{'\x00ff'::bytea},                      '00ff' ],
	[ q{'\x'::bytea},                          '' ],
	[ q{''::text},                             '' ],
	[ q{'Zoë'::text},                          unpack 'H*', 'Zoë' ],
	[ q{'varying'::varchar(20)},               unpack 'H*', 'varying' ],
	[ 'true',                                  '01' ],
	[ 'false',                                 '00' ],
	[ '(-2)::smallint',                        'fffffffffffffffe' ],
	[ '258::integer',                          '0000000000000102' ],
	[ '9223372036854775807',                   '7fffffffffffffff' ],
	[ '12.500',                                unpack 'H*', '12.500' ],
	[ q{'NaN'::numeric},                       unpack 'H*', 'NaN' ],
	[ '1.5::real',                             '3ff8000000000000' ],
	[ q{'-Infinity'::float8},                  'fff0000000000000' ],
	[ q{date '2000-01-02'},                    '00000001' ],
	[ q{date '1999-12-31'},                    'ffffffff' ],
	[ q{timestamp '2000-01-01 00:00:01'},      '00000000000f4240' ],
	[ q{timestamptz '2000-01-01 01:00+01'},    '0000000000000000' ],
	[ q{uuid '00112233-4455-6677-8899-aabbccddeeff'}, '00112233445566778899aabbccddeeff' ],
	[ q{'{"b": 1,  "a": 2}'::json},            unpack 'H*', '{"b": 1,  "a": 2}' ],
	[ q{'{"b": 1,  "a": 2}'::jsonb},           unpack 'H*', '{"a": 2, "b": 1}' ],
	[ q{inet '10.0.0.1/8'},                    unpack 'H*', '10.0.0.1/8' ],
	[ q{cidr '2001:db8::/32'},                 unpack 'H*', '2001:db8::/32' ],
	[ q{repeat('compress me ', 500)},          unpack 'H*', 'compress me ' x 500 ]);
my @bindings = ([ 'default', '', '' ], [ 'other', 'users.ssn', '' ], [ 'default', 'Kontext ü', '42' ], [ 'other', '', 'row' ]);
for my $function (qw(encrypt_column encrypt_deterministic))
{
	for my $compress (qw(off on))
	{
		my (@requests, @expected, @calls);
		for my $value (@values)
		{
			for my $binding (@bindings)
			{
				my ($key, $context, $row_id) = @$binding;
				push @calls, "select encode(encrypt.$function($value->[0], '$key', '$context', '$row_id')::bytea, 'hex')";
				push @requests, [ unpack('H*', $context), unpack('H*', $row_id) ];
				push @expected, $value->[1];
			}
		}
		my @sealed = split /\n/, $node->safe_psql('postgres',
			"set client_min_messages = error; set pg_encrypt.compress = $compress; " . join(';', @calls));
		my @opened = reference(@keys, map { [ 'open', $sealed[$_], @{ $requests[$_] } ] } 0 .. $#sealed);
		splice @opened, 0, @keys;
		is_deeply(\@opened, \@expected, "the reference opens what $function sealed, compress = $compress");
	}
}
my ($short) = rows(q{set pg_encrypt.compress = on;
	select length(encrypt.encrypt_column(repeat('compress me ', 500))::bytea) < 500});
is($short->[0], 't', 'compressed values were among them');

# And back: what the reference seals.
for my $kind (qw(seal seal_deterministic))
{
	my %key = map { @$_ } rows(q{select name, key_id from encrypt.keys where purpose = 'column' and state = 'active'});
	my (@requests, @opens, @expected);
	for my $binding (@bindings)
	{
		my ($key, $context, $row_id) = @$binding;
		for my $plaintext ('', 'Zoë', 'x' x 5000)
		{
			push @requests, [ $kind, $key{$key}, 'text', unpack('H*', $plaintext), unpack('H*', $context), unpack('H*', $row_id) ];
			push @opens, "'$context', '$row_id'";
			push @expected, $plaintext;
		}
	}
	my @sealed = reference(@keys, @requests);
	splice @sealed, 0, @keys;
	my @opened = split /\n/, $node->safe_psql('postgres',
		join(';', map { "select encrypt.decrypt_column('\\x$sealed[$_]', $opens[$_])" } 0 .. $#sealed)), -1;
	is_deeply(\@opened, \@expected, "the server opens what the reference made: $kind");
}

# Tokens.
my (@requests, @calls);
my $index = { map { $_->[0] => $_ } rows(q{
	select name, key_id, version from encrypt.keys where purpose = 'index' and state = 'active'}) };
for my $text ('', 'Alice ', 'Straße', 'İstanbul', 'bob@Example.ORG', '078-05-1120', 'ﬁﬂ Å', "tab\t")
{
	for my $normalizer (qw(exact casefold email digits))
	{
		for my $binding ([ 'default', '', 128 ], [ 'other', 'users.ssn', 16 ], [ 'other', 'Kontext ü', 256 ])
		{
			my ($key, $context, $bits) = @$binding;
			push @calls, "select encode(encrypt.blind_index('$text', '$key', '$context', '$normalizer', $bits), 'hex')";
			push @requests,
			  [ 'token', @{ $index->{$key} }[ 1, 2 ], unpack('H*', $text), unpack('H*', $context), $normalizer, $bits ];
		}
	}
}
my @tokens = reference(@keys, @requests);
splice @tokens, 0, @keys;
is_deeply([ split /\n/, $node->safe_psql('postgres', join(';', @calls)) ], \@tokens, 'both make the same ' . @tokens . ' tokens');
isnt(join(' ', @tokens), join(' ', ($tokens[0]) x @tokens), 'which are not all the same');
$node->stop;
done_testing();
